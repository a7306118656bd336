//! What the agent says of disks that real tools have written, on loop devices, and that saying it writes nothing. Needs
//! root; tools that `scripts/setup` does not install are used where they are.

// The whole file is a test: a failed expectation ends it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use bloomery_agent_api::DiskContents;

#[path = "support/loop_device.rs"]
mod loop_device;

use loop_device::Loop;

const MIB: u64 = 1 << 20;
/// Enough for every tool's smallest file system.
const SIZE: u64 = 320 * MIB;

/// A tool, what it reads from its standard input, and what its disk then holds.
struct Case {
    command: &'static [&'static str],
    input: &'static str,
    found: &'static [&'static str],
    /// `scripts/setup` installs it.
    required: bool,
}

const fn case(command: &'static [&'static str], found: &'static [&'static str], required: bool) -> Case {
    Case { command, input: "", found, required }
}

const TALOS: &str = "label: gpt\nsize=100M, name=EFI, type=U\nsize=1M, name=META\nsize=100M, name=STATE\n\
                     name=EPHEMERAL\n";
const MBR: &str = "label: dos\nsize=50M, type=83\nsize=50M, type=82\n";

/// The node goes last.
const CASES: [Case; 13] = [
    case(&["mke2fs", "-q", "-F", "-t", "ext2"], &["ext2"], true),
    case(&["mke2fs", "-q", "-F", "-t", "ext3"], &["ext3"], true),
    case(&["mke2fs", "-q", "-F", "-t", "ext4"], &["ext4"], true),
    case(&["mke2fs", "-q", "-F", "-t", "ext4", "-L", "etcd-data"], &["etcd", "ext4"], true),
    case(&["mkfs.vfat", "-I"], &["vfat"], true),
    case(&["mkswap"], &["swap"], true),
    Case {
        command: &["sfdisk", "-q"],
        input: TALOS,
        found: &["gpt", "talos-ephemeral", "talos-meta", "talos-state"],
        required: true,
    },
    Case { command: &["sfdisk", "-q"], input: MBR, found: &["mbr"], required: true },
    case(&["mkfs.xfs", "-q", "-f", "-L", "STATE"], &["talos-state", "xfs"], false),
    case(&["mkfs.btrfs", "-q", "-f"], &["btrfs"], false),
    Case {
        command: &["cryptsetup", "luksFormat", "-q", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"],
        input: "a passphrase",
        found: &["luks"],
        required: false,
    },
    case(&["pvcreate", "-q", "-ff", "-y"], &["lvm"], false),
    case(&["mdadm", "--create", "/dev/md/none", "--run", "--level=1", "-n2", "missing"], &["md"], false),
];

fn blank() -> Option<Loop> {
    let backing = tempfile::NamedTempFile::new().unwrap();
    backing.as_file().set_len(SIZE).unwrap();
    Loop::of(backing, &[])
}

fn read(device: &Loop) -> DiskContents {
    agent::contents::read(&device.as_disk(SIZE))
}

/// Requests to write and to discard that the kernel has counted of the device.
fn writes(device: &Loop) -> Vec<u64> {
    let name = device.node.file_name().unwrap();
    let stat = fs::read_to_string(std::path::Path::new("/sys/block").join(name).join("stat")).unwrap();
    let fields: Vec<u64> = stat.split_whitespace().map(|field| field.parse().unwrap()).collect();
    // Documentation/block/stat.rst: writes, their sectors; discards, their sectors; flushes.
    [4, 6, 11, 13, 15].iter().filter_map(|field| fields.get(*field).copied()).collect()
}

/// Runs the tool; false if it is not there or does not work here, and need not.
fn run(case: &Case, device: &Loop) -> bool {
    let (tool, arguments) = case.command.split_first().unwrap();
    let mut command = Command::new(tool);
    command
        .args(arguments)
        .arg(&device.node)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        let incomplete = std::env::var_os("BLOOMERY_INCOMPLETE_TESTS").is_some();
        assert!(!case.required || incomplete, "{tool} is missing: run scripts/setup");
        return false;
    };
    // A tool that reads nothing may have ended.
    let _ = child.stdin.take().unwrap().write_all(case.input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || !case.required, "{tool}: {error}");
    output.status.success()
}

#[test]
fn what_real_tools_write_is_recognised_and_reading_it_writes_nothing() {
    let Some(device) = blank() else { return };
    assert_eq!(read(&device), DiskContents { read: true, ..DiskContents::default() });
    drop(device);
    for case in &CASES {
        // A device of its own for each: tools look for what others have left.
        let device = blank().unwrap();
        if !run(case, &device) {
            continue;
        }
        // What the tool left in the cache is written now, not while the disk is read.
        fs::File::open(&device.node).unwrap().sync_all().unwrap();
        let counted = writes(&device);
        let contents = read(&device);
        assert!(contents.read, "{:?}: {contents:?}", case.command);
        assert_eq!(contents.found, case.found, "{:?}", case.command);
        assert_eq!(writes(&device), counted, "{:?}", case.command);
    }
}

#[test]
fn a_device_that_the_kernel_lets_nobody_write_to_is_read_as_well() {
    let backing = tempfile::NamedTempFile::new().unwrap();
    backing.as_file().set_len(SIZE).unwrap();
    let Some(device) = Loop::of(backing, &["--read-only"]) else { return };
    assert_eq!(read(&device), DiskContents { read: true, ..DiskContents::default() });
}

#[test]
fn a_disk_in_use_is_read_and_left_in_use() {
    let Some(device) = blank() else { return };
    let holder = agent::wipe::medium::Device::open(&device.as_disk(SIZE)).unwrap();
    assert!(read(&device).read);
    drop(holder);
}
