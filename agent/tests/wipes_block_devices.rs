//! S4 on real block devices: loop devices with the marks of partition tables, arrays and volume managers, read-only ones,
//! held ones, and a file system without room. Needs root; without loop devices it says so and ends.

// The whole file is a test: a failed expectation ends it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::{self, File};
use std::io::Read as _;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::process::Command;

use agent::disks::Disk;
use agent::wipe::erase::{self, Progress};
use agent::wipe::medium::{Device, Medium as _};
use bloomery_agent_api::DiskContents;

#[path = "support/loop_device.rs"]
mod loop_device;

use loop_device::Loop;

const MIB: u64 = 1 << 20;
const SIZE: u64 = 80 * MIB;
const PARTITION: Range<u64> = 20 * MIB..40 * MIB;

struct Quiet;

impl Progress for Quiet {
    fn method(&self, _: &str) {}
    fn done(&self, _: u64) {}
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// A disk full of noise and of what finders of data look for.
struct Noise(Loop);

impl Noise {
    fn new(options: &[&str]) -> Option<Self> {
        let backing = tempfile::NamedTempFile::new().unwrap();
        for at in (0..SIZE).step_by(usize::try_from(MIB).unwrap()) {
            backing.as_file().write_all_at(&vec![0xA5; usize::try_from(MIB).unwrap()], at).unwrap();
        }
        for (at, mark) in marks() {
            backing.as_file().write_all_at(mark, at).unwrap();
        }
        Loop::of(backing, options).map(Self)
    }

    fn disk(&self, read_only: bool) -> Disk {
        Disk { read_only, partitions: vec![PARTITION], ..self.0.as_disk(SIZE) }
    }

    /// What is on the disk, past the cache that this process may have filled.
    fn content(&self) -> Vec<u8> {
        let mut file = File::open(&self.0.node).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// What the agent would report.
    fn contents(&self) -> DiskContents {
        agent::contents::read(&self.disk(false))
    }
}

/// MBR, GPT and its copy, LVM, md 1.0 and 0.90 superblocks, ZFS labels, btrfs' second superblock, ext4 in a partition.
fn marks() -> Vec<(u64, &'static [u8])> {
    let md = &[0xfc, 0x4e, 0x2b, 0xa9];
    vec![
        (510, b"\x55\xaa"),
        (512, b"EFI PART"),
        (SIZE - 512, b"EFI PART"),
        (512, b"LABELONE"),
        (SIZE - 8192, md),
        (SIZE - 65536, md),
        (16 << 10, b"\x0c\xb1\xba\x00"),
        (SIZE - (512 << 10), b"\x0c\xb1\xba\x00"),
        (64 * MIB + 64, b"_BHRfS_M"),
        (PARTITION.start + 1080, b"\x53\xef"),
        (PARTITION.end - 65536, md),
    ]
}

#[test]
fn a_fast_wipe_leaves_no_mark_behind() {
    let Some(device) = Noise::new(&[]) else { return };
    let disk = device.disk(false);
    erase::fast(&mut Device::open(&disk).unwrap(), &disk.partitions, &Quiet).unwrap();
    let content = device.content();
    for (at, mark) in marks() {
        let at = usize::try_from(at).unwrap();
        assert!(content[at..at + mark.len()].iter().all(|byte| *byte == 0), "{mark:?} at {at}");
    }
    // The discard took the rest.
    assert_eq!(device.contents(), DiskContents { read: true, ..DiskContents::default() });
    let blkid = Command::new("blkid").arg("-p").arg(&device.0.node).output();
    assert!(blkid.is_err() || blkid.is_ok_and(|output| output.stdout.is_empty()));
}

#[test]
fn a_fast_wipe_without_discard_leaves_no_mark_behind_either() {
    let Some(device) = Noise::new(&[]) else { return };
    let disk = Disk { discards: false, ..device.disk(false) };
    erase::fast(&mut Device::open(&disk).unwrap(), &disk.partitions, &Quiet).unwrap();
    let content = device.content();
    for (at, mark) in marks() {
        let at = usize::try_from(at).unwrap();
        assert!(content[at..at + mark.len()].iter().all(|byte| *byte == 0), "{mark:?} at {at}");
    }
    assert_eq!(content[usize::try_from(10 * MIB).unwrap()], 0xA5, "nothing else is touched");
    // No mark is found any more, but the old octets are still there, and that is said.
    let contents = device.contents();
    assert!(contents.read && contents.found == ["data"], "{contents:?}");
}

#[test]
fn a_full_wipe_leaves_nothing() {
    let Some(device) = Noise::new(&["--sector-size", "4096"]) else { return };
    let disk = device.disk(false);
    let mut opened = Device::open(&disk).unwrap();
    assert_eq!((opened.size(), opened.sector()), (SIZE, 4096));
    let before = device.contents();
    // Its tables are half of what they should be.
    assert!(!before.read && before.found.contains(&"md".to_owned()), "{before:?}");
    erase::full(&mut opened, &Quiet).unwrap();
    assert_eq!(device.contents(), DiskContents { read: true, ..DiskContents::default() });
    assert!(device.content().iter().all(|byte| *byte == 0));
}

#[test]
fn a_write_protected_disk_is_said_to_be_that() {
    let Some(device) = Noise::new(&["--read-only"]) else { return };
    // sysfs may have said otherwise a moment before.
    let error = Device::open(&device.disk(false)).unwrap_err();
    assert!(error.to_string().contains("write-protected"), "{error}");
    assert!(device.content().starts_with(&[0xA5]));
}

#[test]
fn a_held_disk_is_not_wiped() {
    let Some(device) = Noise::new(&[]) else { return };
    let holder =
        fs::OpenOptions::new().read(true).custom_flags(nix::libc::O_EXCL).open(&device.0.node).unwrap();
    let error = Device::open(&device.disk(false)).unwrap_err();
    assert!(error.is_busy(), "{error:?}");
    assert!(device.content().starts_with(&[0xA5]));
    drop(holder);
    assert!(Device::open(&device.disk(false)).is_ok());
}

#[test]
fn two_wipes_of_one_disk_are_impossible() {
    let Some(device) = Noise::new(&[]) else { return };
    let first = Device::open(&device.disk(false)).unwrap();
    assert!(Device::open(&device.disk(false)).unwrap_err().is_busy());
    drop(first);
}

/// Set in the run inside of the namespaces.
const INSIDE: &str = "AGENT_TEST_INSIDE";

#[test]
fn a_disk_whose_writes_fail_midway_is_reported_with_the_place() {
    if std::env::var_os(INSIDE).is_none() {
        let test = "a_disk_whose_writes_fail_midway_is_reported_with_the_place";
        let output = Command::new("unshare")
            .arg("-Urm")
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(INSIDE, "1")
            .output()
            .expect("unshare (Debian package util-linux) starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    // A sparse file of 80 MiB on 2 MiB: the disk takes the first writes only.
    let room = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("tmpfs"), "/tmp", Some("tmpfs"), room, Some("size=2m")).unwrap();
    let node = PathBuf::from("/tmp/disk");
    File::create(&node).unwrap().set_len(SIZE).unwrap();
    let loop_less = Disk {
        sysfs: PathBuf::from("/nonexistent"),
        shown: "/dev/sda".to_owned(),
        name: "sda".to_owned(),
        node,
        size: SIZE,
        model: String::new(),
        serial: String::new(),
        sequence: None,
        read_only: false,
        discards: true,
        alone: true,
        partitions: Vec::new(),
    };
    let error = erase::fast(&mut Device::open(&loop_less).unwrap(), &[], &Quiet).unwrap_err();
    assert!(matches!(error, erase::Error::Write { at: 0, .. }), "{error:?}");
    let error = erase::full(&mut Device::open(&loop_less).unwrap(), &Quiet).unwrap_err().to_string();
    assert!(error.contains("(zeroes)") && error.contains("No space left"), "{error}");
}
