//! Loading in order, against a kernel that notes what it is given, and against the index of the image's Debian kernel.

use std::cell::RefCell;
use std::collections::HashSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::*;

/// A kernel that notes the order of loading, refuses some modules, and brings up devices with others.
#[derive(Default)]
struct Recorder {
    loaded: RefCell<Vec<String>>,
    refused: HashSet<String>,
    brings_up: Vec<(String, PathBuf, String)>,
}

impl Kernel for &Recorder {
    fn load(&self, name: &str, path: &Path) -> Result<bool, Error> {
        assert!(path.to_string_lossy().contains(".ko"), "{path:?}");
        if self.refused.contains(name) {
            return Err(Error::Load { name: name.into(), source: Errno::NODEV });
        }
        self.loaded.borrow_mut().push(name.into());
        for (_, directory, modalias) in self.brings_up.iter().filter(|(module, ..)| module == name) {
            std::fs::create_dir_all(directory).unwrap();
            std::fs::write(directory.join("modalias"), modalias).unwrap();
        }
        Ok(true)
    }
}

fn modules<'a>(kernel: &'a Recorder, dep: &str, softdep: &str, alias: &str) -> Modules<&'a Recorder> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("modules.dep"), dep).unwrap();
    std::fs::write(dir.path().join("modules.softdep"), softdep).unwrap();
    std::fs::write(dir.path().join("modules.alias"), alias).unwrap();
    std::fs::write(dir.path().join("modules.builtin"), "kernel/drivers/virtio/virtio_pci.ko\n").unwrap();
    Modules::open(dir.path().into(), kernel).unwrap()
}

#[test]
fn loads_dependencies_first_and_each_once() {
    let kernel = Recorder::default();
    let dep = "k/ext4.ko.xz: k/jbd2.ko.xz k/mbcache.ko.xz k/crc16.ko.xz\nk/jbd2.ko.xz: k/crc16.ko.xz\n\
               k/mbcache.ko.xz:\nk/crc16.ko.xz:\nk/crc32c_generic.ko.xz:\nk/after.ko.xz:\n";
    let mut modules =
        modules(&kernel, dep, "softdep ext4 pre: crc32c post: after", "alias crc32c crc32c_generic\n");
    assert_eq!(modules.load("ext4").unwrap(), Outcome::Loaded);
    assert_eq!(*kernel.loaded.borrow(), ["crc32c_generic", "crc16", "mbcache", "jbd2", "ext4", "after"]);
    assert_eq!(modules.load("ext4").unwrap(), Outcome::Present);
    assert_eq!(modules.load("virtio-pci").unwrap(), Outcome::Present);
    assert!(matches!(modules.load("nothing"), Err(Error::Unknown { .. })));
}

#[test]
fn a_checksum_that_nothing_declares_comes_before_ext4() {
    let kernel = Recorder::default();
    modules(&kernel, "k/ext4.ko:\nk/crc32c_generic.ko:\n", "", "").load("ext4").unwrap();
    assert_eq!(*kernel.loaded.borrow(), ["crc32c_generic", "ext4"]);
}

#[test]
fn a_circle_ends() {
    let kernel = Recorder::default();
    modules(&kernel, "k/a.ko: k/b.ko\nk/b.ko: k/a.ko\n", "softdep a pre: b\nsoftdep b pre: a", "")
        .load("a")
        .unwrap();
    assert_eq!(*kernel.loaded.borrow(), ["b", "a"]);
}

#[test]
fn a_dependency_that_fails_is_a_failure_and_may_be_tried_again() {
    let mut kernel = Recorder::default();
    kernel.refused.insert("b".into());
    let mut modules = modules(&kernel, "k/a.ko: k/b.ko\nk/b.ko:\n", "", "");
    for _ in 0..2 {
        assert!(matches!(modules.load("a"), Err(Error::Load { name, .. }) if name == "b"));
    }
    assert!(kernel.loaded.borrow().is_empty());
}

#[test]
fn coldplug_follows_what_drivers_bring_up_and_reports_failures() {
    let dir = tempfile::tempdir().unwrap();
    let bus = dir.path().join("pci0/0000:00:01.0");
    std::fs::create_dir_all(&bus).unwrap();
    std::fs::write(bus.join("modalias"), "pci:v1\n").unwrap();
    symlink(dir.path(), bus.join("subsystem")).unwrap();
    let kernel = Recorder {
        refused: HashSet::from(["bad".into()]),
        brings_up: vec![("host".into(), bus.join("usb1"), "usb:v2\n".into())],
        ..Recorder::default()
    };
    let mut modules = modules(
        &kernel,
        "k/host.ko:\nk/disk.ko:\nk/bad.ko:\n",
        "",
        "alias pci:v1* host\nalias pci:v* bad\nalias usb:v2* disk\n",
    );
    let mut coldplug = Coldplug::new(dir.path());
    let report = coldplug.run(&mut modules);
    assert_eq!(report.loaded, ["host", "disk"]);
    assert_eq!(report.failed.len(), 1);
    assert_eq!(report.failed[0].0, "bad");
    let again = coldplug.run(&mut modules);
    assert!(again.loaded.is_empty() && again.failed.is_empty());
}

/// The modules of the image that was built last.
fn modules_of_the_image() -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../out/rootfs/usr/lib/modules");
    let first = std::fs::read_dir(folder).ok().and_then(|mut entries| entries.next());
    first.and_then(Result::ok).expect("the image's root tree is there: `make image` makes it").path()
}

#[test]
#[ignore = "needs the image's root tree: `make test-namespaces` runs it"]
fn reads_the_index_of_a_debian_kernel() {
    let directory = modules_of_the_image();
    let kernel = Recorder::default();
    let mut modules = Modules::open(directory, &kernel).unwrap();
    assert!(modules.index().len() > 100);
    for (modalias, module) in [
        ("virtio:d00000002v00001AF4", "virtio_blk"),
        ("virtio:d00000001v00001AF4", "virtio_net"),
        ("pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01", "ahci"),
        ("pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02", "nvme"),
        ("pci:v00001B36d0000000Dsv00001AF4sd00001100bc0Csc03i30", "xhci_pci"),
        ("usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00", "usb_storage"),
        ("scsi:t-0x00", "sd_mod"),
        ("fs-ext4", "ext4"),
        ("fs-squashfs", "squashfs"),
    ] {
        let found = modules.index().matching(modalias);
        assert!(found.iter().any(|name| name == module), "{modalias}: {found:?}");
    }
    for name in ["ext4", "squashfs", "vfat", "virtio_blk", "nvme", "ahci", "sd_mod", "uas", "xhci_pci"] {
        modules.load(name).unwrap();
    }
    let order = kernel.loaded.borrow();
    let position = |name: &str| order.iter().position(|other| other == name);
    assert!(position("crc32c_generic").unwrap() < position("ext4").unwrap());
    assert!(position("jbd2").unwrap() < position("ext4").unwrap());
    assert!(position("usb_storage").unwrap() < position("uas").unwrap());
    assert!(position("nls_cp437").unwrap() < position("vfat").unwrap());
}
