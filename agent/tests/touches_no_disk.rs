//! S1 for the agent: reading the hardware opens no disk, looking at disks opens them for reading only, nothing in its
//! source can write but the wipe, and nothing starts a wipe but an order.

// The whole file is a test: a failed expectation ends it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use rustix::fs::inotify;

/// Set in the run inside of the namespaces.
const INSIDE: &str = "AGENT_TEST_INSIDE";

#[test]
fn reading_the_hardware_opens_no_device_node() {
    if std::env::var_os(INSIDE).is_some() {
        return watch_device_nodes();
    }
    // In a mount namespace of its own /dev is ours, so that every open of a node in it is the agent's.
    inside("reading_the_hardware_opens_no_device_node");
}

#[test]
fn looking_at_disks_opens_them_for_reading_only() {
    if std::env::var_os(INSIDE).is_some() {
        return watch_a_look();
    }
    inside("looking_at_disks_opens_them_for_reading_only");
}

fn watch_a_look() {
    mount(Some("tmpfs"), "/dev", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    let sysfs = Path::new("/dev/.sysfs");
    let disks = ["nvme0n1", "sda", "vda"];
    for name in disks {
        fs::create_dir_all(sysfs.join("block").join(name)).unwrap();
        fs::write(sysfs.join("block").join(name).join("size"), "2048\n").unwrap();
        fs::write(Path::new("/dev").join(name), vec![0xA5; 1 << 20]).unwrap();
    }
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&watch, "/dev", inotify::WatchFlags::ALL_EVENTS).unwrap();
    let places = agent::disks::Places { sysfs: sysfs.to_owned(), dev: "/dev".into() };
    let survey = agent::contents::Survey::new(places);
    let mut storage = agent::inventory::read(sysfs, &[]).hardware.storage.unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(survey.describe(&mut storage));
    assert_eq!(storage.devices.len(), disks.len());
    for disk in &storage.devices {
        let contents = disk.contents.as_ref().unwrap();
        assert!(contents.read && contents.found == ["data"], "{disk:?}");
    }
    let mut closed = Vec::new();
    for (name, event) in events(&watch) {
        // Opened, read, and closed by one that could not write.
        let reading =
            inotify::ReadFlags::OPEN | inotify::ReadFlags::ACCESS | inotify::ReadFlags::CLOSE_NOWRITE;
        assert!(reading.contains(event), "{name}: {event:?}");
        closed.extend(event.contains(inotify::ReadFlags::CLOSE_NOWRITE).then_some(name));
    }
    closed.sort();
    assert_eq!(closed, disks);
    for name in disks {
        assert_eq!(fs::read(Path::new("/dev").join(name)).unwrap(), vec![0xA5; 1 << 20]);
    }
    // The watch works: this write is seen.
    fs::write("/dev/sda", b"x").unwrap();
    assert!(events(&watch).iter().any(|(_, event)| event.contains(inotify::ReadFlags::CLOSE_WRITE)));
}

/// Runs one test of this file in namespaces of its own, in which /dev is ours.
fn inside(test: &str) {
    let output = Command::new("unshare")
        .arg("-Urm")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare (Debian package util-linux) starts");
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// What happened to files since the last call; directories are left out.
fn events(watch: &impl std::os::fd::AsFd) -> Vec<(String, inotify::ReadFlags)> {
    let mut buffer = [std::mem::MaybeUninit::uninit(); 16384];
    let mut reader = inotify::Reader::new(watch, &mut buffer);
    let mut events = Vec::new();
    while let Ok(event) = reader.next() {
        if !event.events().contains(inotify::ReadFlags::ISDIR) {
            let name = event.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            events.push((name, event.events()));
        }
    }
    events
}

#[test]
fn what_reads_disks_has_no_way_to_write() {
    let sources =
        [("contents", &["block::erase", "write", "ioctl"][..]), ("contents.rs", &["block::erase", "write"])];
    for (source, text) in product_sources() {
        for (place, words) in sources {
            // Comments may speak of it.
            let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            let matches = source.starts_with(place);
            assert!(!matches || words.iter().all(|word| !code.contains(word)), "{source}");
        }
    }
    let reader = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sys/src/block/read.rs");
    let text = fs::read_to_string(reader).unwrap();
    let product = text.split("#[cfg(test)]").next().unwrap();
    assert_eq!(product.matches("OpenOptions::new()").count(), 1);
    for writing in [".write(", ".append(", ".create", "ioctl", "unsafe", "write_at", "O_RDWR"] {
        assert!(!product.contains(writing), "{writing}");
    }
}

fn watch_device_nodes() {
    mount(Some("tmpfs"), "/dev", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    let sysfs = Path::new("/dev/.sysfs");
    for name in ["sda", "nvme0n1", "vda", "mmcblk0"] {
        fs::create_dir_all(sysfs.join("block").join(name).join("queue")).unwrap();
        fs::write(sysfs.join("block").join(name).join("size"), "2048\n").unwrap();
    }
    let real = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    for name in real.map(|entry| entry.file_name()).chain(["sda", "nvme0n1", "mmcblk0"].map(Into::into)) {
        File::create(Path::new("/dev").join(name)).unwrap();
    }
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    let events = inotify::WatchFlags::OPEN | inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE;
    inotify::add_watch(&watch, "/dev", events).unwrap();
    let inventory = agent::inventory::read(sysfs, &[]);
    assert_eq!(inventory.hardware.storage.unwrap().device_count, 4);
    agent::inventory::read(Path::new(agent::inventory::SYSFS), &[]);
    assert_eq!(opened(&watch), [] as [String; 0]);
    // The watch works: this open is seen.
    File::open("/dev/sda").unwrap();
    assert_eq!(opened(&watch), ["sda"]);
}

/// The nodes opened since the last call; opens of directories are left out.
fn opened(watch: &impl std::os::fd::AsFd) -> Vec<String> {
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(watch, &mut buffer);
    let mut names = Vec::new();
    while let Ok(event) = reader.next() {
        if !event.events().contains(inotify::ReadFlags::ISDIR) {
            names
                .push(event.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()));
        }
    }
    names
}

/// Ways to open something for writing, or to open what is not a small file at all.
const WRITES: [&str; 9] = [
    "File::",
    "OpenOptions",
    "fs::write",
    "fs::copy",
    "fs::rename",
    "fs::remove",
    "libc::",
    "nix::fcntl",
    "rustix::",
];

/// The parts of the kernel's edge that erase, or take down what holds a disk.
const ERASERS: [&str; 4] = ["block::erase", "bloomery_sys::nvme", "bloomery_sys::dm", "bloomery_sys::md"];

/// Product code of each file, by its path below `src/`.
fn product_sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    collect(&root, &mut sources);
    assert!(sources.len() > 20, "{sources:?}");
    let read = |source: &PathBuf| {
        let text = fs::read_to_string(source).unwrap();
        let product = text.split("#[cfg(test)]").next().unwrap().to_owned();
        (source.strip_prefix(&root).unwrap().display().to_string(), product)
    };
    sources.iter().map(read).collect()
}

#[test]
fn nothing_in_the_agents_source_can_open_for_writing_by_itself() {
    for (source, text) in product_sources() {
        for write in WRITES {
            assert!(!text.contains(write), "{source} has {write}");
        }
    }
}

#[test]
fn only_the_wipe_reaches_what_erases() {
    for (source, text) in product_sources() {
        for eraser in ERASERS {
            let allowed = source.starts_with("wipe/") || source == "wipe.rs";
            assert!(allowed || !text.contains(eraser), "{source} has {eraser}");
        }
    }
}

#[test]
fn only_following_an_order_starts_a_wipe_and_only_an_answer_makes_an_order() {
    let users = |what: &str| -> Vec<String> {
        let sources = product_sources().into_iter().filter(|(_, text)| text.contains(what));
        sources.map(|(source, _)| source).collect()
    };
    assert_eq!(users("wipe::run("), ["follow.rs"]);
    assert_eq!(users("Device::open(disk)"), ["wipe.rs"]);
    assert_eq!(users("WipeOrder {"), ["orders.rs"]);
    let orders = product_sources().into_iter().find(|(source, _)| source == "orders.rs").unwrap().1;
    // Once where it is defined, once for its methods, once where it is made of an answer that says so.
    assert_eq!(orders.matches("WipeOrder {").count(), 3);
    assert!(orders.contains("wipe: wipe.then(|| WipeOrder {"));
    for copied in
        ["Clone, Debug)]\npub struct WipeOrder", "Clone)]\npub struct WipeOrder", "impl Clone for WipeOrder"]
    {
        assert!(!orders.contains(copied), "{copied}");
    }
}

/// The Rust files below, without those of tests.
fn collect(directory: &Path, sources: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|it| it == "rs")
            && path.file_name().is_some_and(|it| it != "tests.rs" && it != "fake_plane.rs")
        {
            sources.push(path);
        }
    }
}
