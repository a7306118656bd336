//! The Environment `default` as it is made when there is none.
//!
//! Never applied to one that exists: users edit it.

use bloomery_api::environment::{DEFAULT, Initrd, Kernel};
use bloomery_api::{Environment, EnvironmentSpec};

/// Release of Talos that machines boot when nothing names another.
pub const TALOS_RELEASE: &str = "v1.13.0";

/// Kernel arguments that Talos sets for itself on this release.
const TALOS_ARGS: [&str; 9] = [
    "init_on_alloc=1",
    "slab_nomerge=",
    "pti=on",
    "consoleblank=0",
    "nvme_core.io_timeout=4294967295",
    "printk.devkmsg=on",
    "selinux=1",
    "module.sig_enforce=1",
    "proc_mem.force_override=never",
];
/// Kernel arguments for netbooting bare metal with a screen and a serial line.
const METAL_ARGS: [&str; 5] =
    ["console=tty0", "console=ttyS0", "earlyprintk=ttyS0", "initrd=initramfs.xz", "talos.platform=metal"];

/// The object to create.
pub fn environment() -> Environment {
    let base = format!("https://github.com/siderolabs/talos/releases/download/{TALOS_RELEASE}");
    let mut args: Vec<String> = TALOS_ARGS.iter().chain(&METAL_ARGS).map(|arg| (*arg).to_owned()).collect();
    args.sort_unstable();
    Environment::new(
        DEFAULT,
        EnvironmentSpec {
            kernel: Kernel { url: format!("{base}/vmlinuz-amd64"), sha512: String::new(), args },
            initrd: Initrd { url: format!("{base}/initramfs-amd64.xz"), sha512: String::new() },
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_sorted_by_bytes_and_complete() {
        let made = environment();
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
    }
}
