//! A sysfs made by hand.

use std::fs;

use super::*;

/// A block device with these attributes.
fn device(root: &Path, name: &str, attributes: &[(&str, &[u8])]) {
    for (attribute, value) in attributes {
        let path = root.join(name).join(attribute);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, value).unwrap();
    }
}

/// One disk of each kind.
fn each_kind(root: &Path) {
    device(
        root,
        "sda",
        &[
            ("size", b"12582912\n"),
            ("queue/rotational", b"1\n"),
            ("device/model", b"QEMU HARDDISK   \n"),
            ("device/vpd_pg80", b"\x00\x80\x00\x08  QM0001\n"),
            ("device/wwid", b"t10.ATA     QEMU HARDDISK\n"),
        ],
    );
    device(root, "sdb", &[("size", b"2048\n"), ("queue/rotational", b"0\n")]);
    device(
        root,
        "nvme0n1",
        &[
            ("size", b"7814037168\n"),
            ("queue/rotational", b"0\n"),
            ("device/model", b"SAMSUNG MZ7\n"),
            ("device/serial", b"S5JXNG0N\0\0\n"),
            ("wwid", b"eui.0025385b01404b1c\n"),
            ("uuid", b"7d0e2d1c-0000-0000-0000-000000000001\n"),
        ],
    );
    device(
        root,
        "mmcblk0",
        &[
            ("size", b"62333952\n"),
            ("queue/rotational", b"0\n"),
            ("device/name", b"DG4032\n"),
            ("device/serial", b"0x1234\n"),
        ],
    );
    device(root, "vda", &[("size", b"2097152\n"), ("queue/rotational", b"1\n"), ("serial", b"disk-1")]);
    device(root, "cciss!c0d0", &[("size", b"1\n")]);
}

#[test]
fn describes_each_kind_of_disk() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    each_kind(root);
    let storage = read(root);
    let summary: Vec<(&str, i32, u64)> =
        (storage.devices.iter()).map(|disk| (disk.device_name.as_str(), disk.r#type, disk.size)).collect();
    assert_eq!(
        summary,
        [
            ("/dev/cciss/c0d0", StorageType::Unknown as i32, 512),
            ("/dev/mmcblk0", StorageType::Sd as i32, 62_333_952 * 512),
            ("/dev/nvme0n1", StorageType::NvMe as i32, 7_814_037_168 * 512),
            ("/dev/sda", StorageType::Hdd as i32, 12_582_912 * 512),
            ("/dev/sdb", StorageType::Ssd as i32, 2048 * 512),
            ("/dev/vda", StorageType::Hdd as i32, 2_097_152 * 512),
        ]
    );
    assert_eq!(storage.device_count, 6);
    assert_eq!(storage.total_size, storage.devices.iter().map(|disk| disk.size).sum::<u64>());
    let [_, sd, nvme, sda, _, vda] = storage.devices.as_slice() else { panic!("{storage:?}") };
    assert_eq!((sda.model.as_str(), sda.serial.as_str()), ("QEMU HARDDISK", "QM0001"));
    assert_eq!(sda.wwid, "t10.ATA     QEMU HARDDISK");
    assert_eq!((nvme.model.as_str(), nvme.serial.as_str()), ("SAMSUNG MZ7", "S5JXNG0N"));
    assert_eq!(nvme.wwid, "eui.0025385b01404b1c");
    assert_eq!(nvme.uuid, "7d0e2d1c-0000-0000-0000-000000000001");
    assert_eq!((sd.name.as_str(), sd.serial.as_str(), vda.serial.as_str()), ("DG4032", "0x1234", "disk-1"));
}

#[test]
fn leaves_out_what_is_no_disk_of_this_machine() {
    let root = tempfile::tempdir().unwrap();
    for name in
        ["loop0", "ram0", "sr0", "dm-0", "md127", "zram0", "fd0", "nbd0", "mmcblk0boot0", "mmcblk0rpmb"]
    {
        device(root.path(), name, &[("size", b"2048\n")]);
    }
    device(root.path(), "sda", &[("size", b"0\n")]);
    device(root.path(), "sdb", &[("size", b"noise\n")]);
    device(root.path(), "sdc", &[("queue/rotational", b"0\n")]);
    device(root.path(), "nvme0c0n1", &[("size", b"2048\n"), ("hidden", b"1\n")]);
    assert_eq!(read(root.path()), StorageInformation::default());
}

#[test]
fn no_sysfs_is_no_disks() {
    assert_eq!(read(Path::new("/nonexistent")), StorageInformation::default());
}

#[test]
fn noise_in_attributes_becomes_readable_text() {
    let root = tempfile::tempdir().unwrap();
    device(
        root.path(),
        "sda",
        &[
            ("size", b"18446744073709551615"),
            ("device/model", b"\xff\x1b[31mBAD\x07\n"),
            ("device/vpd_pg80", b"\x00\x80"),
        ],
    );
    let storage = read(root.path());
    assert_eq!(storage.devices[0].size, u64::MAX);
    assert_eq!(storage.devices[0].model, "\u{fffd}[31mBAD");
    assert_eq!(storage.devices[0].serial, "");
}
