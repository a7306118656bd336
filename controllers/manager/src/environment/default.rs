//! The Environments `default` and `default-arm64` as they are made when there are none.
//!
//! Never applied to one that exists: users edit it.

use bloomery_api::arch::Arch;
use bloomery_api::environment::{
    DEFAULT, FETCH_ANNOTATION, Initrd, Kernel, ON_DEMAND, TALOS_ARGS, names_for,
};
use bloomery_api::{Environment, EnvironmentSpec};

/// Release of Talos that machines boot when nothing names another.
pub const TALOS_RELEASE: &str = "v1.13.0";

/// Kernel arguments for netbooting bare metal with a screen.
const METAL_ARGS: [&str; 3] = ["console=tty0", "initrd=initramfs.xz", "talos.platform=metal"];

/// The serial line, which differs: `ttyAMA0` is what Arm's server base architecture asks for, and early
/// output is found through the firmware's tables there.
const fn serial_args(arch: Arch) -> [&'static str; 2] {
    match arch {
        Arch::Amd64 => ["console=ttyS0", "earlyprintk=ttyS0"],
        Arch::Arm64 => ["console=ttyAMA0", "earlycon"],
    }
}

/// A flag as upstream's Environments have it (spec/sidero.md §2.3): the kernel takes both forms.
fn with_value(arg: &str) -> String {
    if arg.contains('=') { arg.to_owned() } else { format!("{arg}=") }
}

/// The object to create for an architecture.
pub fn environment(arch: Arch) -> Environment {
    let base = format!("https://github.com/siderolabs/talos/releases/download/{TALOS_RELEASE}");
    let word = arch.as_str();
    let serial = serial_args(arch);
    let talos = TALOS_ARGS.into_iter().map(with_value);
    let mut args: Vec<String> =
        talos.chain(METAL_ARGS.into_iter().chain(serial).map(str::to_owned)).collect();
    args.sort_unstable();
    let mut made = Environment::new(
        &names_for(arch, DEFAULT).0,
        EnvironmentSpec {
            kernel: Kernel { url: format!("{base}/vmlinuz-{word}"), sha512: String::new(), args },
            initrd: Initrd { url: format!("{base}/initramfs-{word}.xz"), sha512: String::new() },
        },
    );
    match arch {
        Arch::Amd64 => {}
        // A hundred megabytes, which most sites have no machine for.
        Arch::Arm64 => {
            made.metadata.annotations = Some([(FETCH_ANNOTATION.to_owned(), ON_DEMAND.to_owned())].into());
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_sorted_by_bytes_and_complete() {
        let made = environment(Arch::Amd64);
        assert_eq!(
            made.spec.kernel.args,
            [
                "console=tty0",
                "console=ttyS0",
                "consoleblank=0",
                "earlyprintk=ttyS0",
                "init_on_alloc=1",
                "initrd=initramfs.xz",
                "module.sig_enforce=1",
                "nvme_core.io_timeout=4294967295",
                "printk.devkmsg=on",
                "proc_mem.force_override=never",
                "pti=on",
                "selinux=1",
                "slab_nomerge=",
                "talos.platform=metal",
            ]
        );
        assert!(made.spec.kernel.url.ends_with("/v1.13.0/vmlinuz-amd64"));
        assert!(made.spec.initrd.url.ends_with("/v1.13.0/initramfs-amd64.xz"));
        assert!(!made.is_ready());
        assert_eq!(made.metadata.name.as_deref(), Some("default"));
    }

    #[test]
    fn arm64_differs_by_its_files_and_its_serial_line() {
        let (amd64, arm64) = (environment(Arch::Amd64), environment(Arch::Arm64));
        assert_eq!(arm64.metadata.name.as_deref(), Some("default-arm64"));
        assert!(arm64.spec.kernel.url.ends_with("/v1.13.0/vmlinuz-arm64"));
        assert!(arm64.spec.initrd.url.ends_with("/v1.13.0/initramfs-arm64.xz"));
        let only = |these: &Environment, others: &Environment| -> Vec<String> {
            let others = &others.spec.kernel.args;
            these.spec.kernel.args.iter().filter(|arg| !others.contains(arg)).cloned().collect()
        };
        assert_eq!(only(&amd64, &arm64), ["console=ttyS0", "earlyprintk=ttyS0"]);
        assert_eq!(only(&arm64, &amd64), ["console=ttyAMA0", "earlycon"]);
        assert!(arm64.spec.kernel.args.is_sorted());
        assert!(arm64.is_fetched_on_demand() && !amd64.is_fetched_on_demand());
    }
}
