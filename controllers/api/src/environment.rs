//! Environment: the kernel, initramfs and kernel arguments that a bound machine boots.
//!
//! Never fetches anything: the controllers do.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::condition::ConditionStatus;
use crate::schema::{AGE, Column, column};
use crate::zero::{is_zero, left_out_when_zero};

/// The Environment that is booted when nothing names another; it always exists.
pub const DEFAULT: &str = "default";
/// What [`DEFAULT`] is for 64-bit ARM machines; it always exists too.
pub const DEFAULT_ARM64: &str = "default-arm64";
/// Annotation that says when the files are fetched; without it, at once.
pub const FETCH_ANNOTATION: &str = "bloomery.dev/fetch";
/// Its value for an Environment whose files are fetched when the first 64-bit ARM machine waits for them.
pub const ON_DEMAND: &str = "on-demand";
/// Ending of the name of an Environment that stands in for another on 64-bit ARM machines.
const ARM64_SUFFIX: &str = "-arm64";
/// File name of the kernel in an Environment's directory.
pub const KERNEL_FILE: &str = "vmlinuz";
/// File name of the initramfs in an Environment's directory.
pub const INITRD_FILE: &str = "initramfs.xz";
/// Kernel arguments that Talos 1.13 and later sets for itself, in its order. Upstream's Environments print the flag among
/// them with an equals sign, its agent without one.
pub const TALOS_ARGS: [&str; 9] = [
    "init_on_alloc=1",
    "slab_nomerge",
    "pti=on",
    "consoleblank=0",
    "nvme_core.io_timeout=4294967295",
    "printk.devkmsg=on",
    "selinux=1",
    "module.sig_enforce=1",
    "proc_mem.force_override=never",
];
/// The one condition type an asset has.
pub const READY: &str = "Ready";

/// What `kubectl get` shows before the age.
pub(crate) const COLUMNS: [Column; 4] = [
    column("Kernel", "string", ".spec.kernel.url", "where the kernel comes from"),
    column("Initrd", "string", ".spec.initrd.url", "where the initramfs comes from"),
    column(
        "Ready",
        "string",
        ".status.conditions[?(@.type==\"Ready\")].status",
        "whether the assets are here",
    ),
    AGE,
];

/// Where kernel and initramfs come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "metal.sidero.dev",
    version = "v1alpha2",
    kind = "Environment",
    plural = "environments",
    doc = "Environment is a kernel and an initramfs that machines boot from the network.",
    status = "EnvironmentStatus",
    shortname = "env",
    category = "sidero",
    category = "bloomery",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentSpec {
    /// Kernel.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub kernel: Kernel,
    /// Initial RAM disk.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub initrd: Initrd,
}

left_out_when_zero! {
    /// A kernel.
    pub struct Kernel {
        /// Where it comes from.
        pub url: String,
        /// SHA-512 of the file in hexadecimal; not checked when empty.
        pub sha512: String,
        /// Kernel arguments, in order.
        pub args: Vec<String>,
    }

    /// An initial RAM disk.
    pub struct Initrd {
        /// Where it comes from.
        pub url: String,
        /// SHA-512 of the file in hexadecimal; not checked when empty.
        pub sha512: String,
    }

    /// What is known of the assets.
    pub struct EnvironmentStatus {
        /// One entry for each asset.
        pub conditions: Vec<AssetCondition>,
    }
}

/// What is known of one asset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AssetCondition {
    /// Where the asset came from.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub url: String,
    /// SHA-512 asked for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sha512: String,
    /// True when the file is here and is the right one.
    pub status: ConditionStatus,
    /// Always `Ready`.
    #[serde(rename = "type")]
    pub type_: String,
}

/// Names under which the Environment is looked for that a machine of `arch` boots where `base` is asked for: the first
/// one, or the other where there is one and the first is known not to exist.
///
/// Ending in the architecture stands for "made for it"; what runs on every machine of a cluster has a twin, and
/// `default` is for amd64 only: its kernel never runs on 64-bit ARM, not even when there is nothing else.
pub fn names_for(arch: Arch, base: &str) -> (String, Option<String>) {
    match arch {
        Arch::Amd64 => (base.to_owned(), None),
        Arch::Arm64 if base.ends_with(ARM64_SUFFIX) => (base.to_owned(), None),
        Arch::Arm64 if base == DEFAULT => (DEFAULT_ARM64.to_owned(), None),
        Arch::Arm64 => (format!("{base}{ARM64_SUFFIX}"), Some(base.to_owned())),
    }
}

impl Environment {
    /// Whether the files are fetched only when a machine waits for them.
    pub fn is_fetched_on_demand(&self) -> bool {
        let annotations = self.metadata.annotations.as_ref();
        annotations.and_then(|all| all.get(FETCH_ANNOTATION)).is_some_and(|when| when == ON_DEMAND)
    }

    /// True when each asset that has a URL has a `Ready` condition that is True for that same URL.
    pub fn is_ready(&self) -> bool {
        let conditions = self.status.as_ref().map_or(&[][..], |status| &status.conditions);
        let ready = |url: &str| {
            url.is_empty()
                || conditions
                    .iter()
                    .any(|c| c.url == url && c.type_ == READY && c.status == ConditionStatus::True)
        };
        ready(&self.spec.kernel.url) && ready(&self.spec.initrd.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(kernel: &str, initrd: &str, conditions: &[(&str, ConditionStatus)]) -> Environment {
        let mut environment = Environment::new("e", EnvironmentSpec::default());
        environment.spec.kernel.url = kernel.to_owned();
        environment.spec.initrd.url = initrd.to_owned();
        let conditions = conditions.iter().map(|(url, status)| AssetCondition {
            url: (*url).to_owned(),
            status: *status,
            type_: READY.to_owned(),
            ..AssetCondition::default()
        });
        environment.status = Some(EnvironmentStatus { conditions: conditions.collect() });
        environment
    }

    #[test]
    fn arm64_machines_have_environments_of_their_own() {
        for (arch, base, first, other) in [
            (Arch::Amd64, "default", "default", None),
            (Arch::Amd64, "e", "e", None),
            (Arch::Amd64, "e-arm64", "e-arm64", None),
            (Arch::Arm64, "default", "default-arm64", None),
            (Arch::Arm64, "e", "e-arm64", Some("e")),
            (Arch::Arm64, "e-arm64", "e-arm64", None),
        ] {
            let expected = (first.to_owned(), other.map(str::to_owned));
            assert_eq!(names_for(arch, base), expected, "{arch:?} {base}");
        }
    }

    #[test]
    fn readiness_needs_a_true_condition_for_each_url() {
        use ConditionStatus::{False, True};
        type Case<'a> = (&'a str, &'a str, &'a [(&'a str, ConditionStatus)], bool);
        let cases: &[Case<'_>] = &[
            ("", "", &[], true),
            ("k", "i", &[], false),
            ("k", "i", &[("k", True)], false),
            ("k", "i", &[("k", True), ("i", False)], false),
            ("k", "i", &[("i", True), ("k", True)], true),
            ("k", "", &[("k", True)], true),
            ("new", "i", &[("k", True), ("i", True)], false),
        ];
        for (kernel, initrd, conditions, ready) in cases {
            assert_eq!(
                environment(kernel, initrd, conditions).is_ready(),
                *ready,
                "{kernel} {initrd} {conditions:?}"
            );
        }
    }
}
