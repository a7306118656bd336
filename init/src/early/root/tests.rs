//! Choosing among root partitions, on a made-up tree of devices.

use std::os::unix::fs::symlink;

use super::*;

/// Disks with a `root-a` each, by kernel name and place.
fn sysfs(disks: &[(&str, &str)]) -> (tempfile::TempDir, Sysfs) {
    let directory = tempfile::tempdir().unwrap();
    let class = directory.path().join("class");
    std::fs::create_dir(&class).unwrap();
    for (name, place) in disks {
        let disk = directory.path().join(place).join(name);
        let partition = disk.join(format!("{name}3"));
        std::fs::create_dir_all(&partition).unwrap();
        for (file, text) in
            [("partition", "3"), ("start", "2048"), ("size", "8"), ("uevent", "PARTNAME=root-a\n")]
        {
            std::fs::write(partition.join(file), text).unwrap();
        }
        std::fs::write(disk.join("size"), "4096").unwrap();
        symlink(&partition, class.join(format!("{name}3"))).unwrap();
        symlink(&disk, class.join(name)).unwrap();
    }
    (directory, Sysfs::new(class))
}

#[test]
fn the_place_in_the_machine_decides_and_not_the_name() {
    let one = sysfs(&[("sda", "pci0/port2"), ("sdb", "pci0/port1")]);
    let other = sysfs(&[("sdb", "pci0/port2"), ("sda", "pci0/port1")]);
    for (_directory, sysfs) in [&one, &other] {
        let found = candidates(sysfs, Slot::A);
        assert_eq!(found.len(), 2);
        assert!(found[0].path.to_string_lossy().contains("port1"));
    }
    assert!(candidates(&one.1, Slot::B).is_empty());
}

#[test]
fn two_roots_are_warned_about() {
    let (_directory, sysfs) = sysfs(&[("sda", "a"), ("sdb", "b")]);
    let found = candidates(&sysfs, Slot::A);
    let (console, said) = EarlyConsole::recording();
    report(&found[..1], &found[0], &console);
    assert!(said.borrow().is_empty());
    report(&found, &found[0], &console);
    assert!(said.borrow().concat().contains("2 disks hold this system (/dev/sda3, /dev/sdb3)"));
}

#[test]
fn a_root_that_cannot_be_mounted_is_explained() {
    let (directory, sysfs) = sysfs(&[("bloomery-no-such-disk", "a")]);
    let mut trouble = Vec::new();
    let target = directory.path().join("sysroot");
    assert!(mount_first(&candidates(&sysfs, Slot::A), &target, &mut trouble).is_none());
    assert_eq!(trouble.len(), 1);
    let (console, said) = EarlyConsole::recording();
    explain(Slot::A, Duration::from_secs(61), &sysfs, &trouble, &console);
    let text = said.borrow().join("\n");
    for part in ["root-a after 61 s", "failed to mount", "/dev/bloomery-no-such-disk (2 MiB)", "what to do"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn no_disk_at_all_is_explained() {
    let (_directory, sysfs) = sysfs(&[]);
    let (console, said) = EarlyConsole::recording();
    explain(Slot::B, Duration::from_mins(1), &sysfs, &[], &console);
    assert!(said.borrow().concat().contains("disks that are seen: none"));
    assert!(!heal(&sysfs, Slot::B, &console));
}
