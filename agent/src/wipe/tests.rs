//! Whole wipes of files that stand for disks, in a sysfs made by hand.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use bloomery_agent_api::disk_progress::State;
use bloomery_agent_api::{CreateServerResponse, ExemptDisk};

use super::*;
use crate::orders::{Memory, Orders, Step, next};

/// A machine whose disks are files.
pub(crate) struct Machine {
    _root: tempfile::TempDir,
    pub(crate) places: Places,
}

const SIZE: usize = 5 << 20;

impl Machine {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let places = Places { sysfs: root.path().join("sys"), dev: root.path().join("dev") };
        fs::create_dir_all(&places.dev).unwrap();
        fs::create_dir_all(places.sysfs.join("block")).unwrap();
        Self { _root: root, places }
    }

    /// A disk full of data, known to sysfs.
    pub(crate) fn disk(&self, name: &str, sequence: u64) -> PathBuf {
        self.attribute(name, "size", &(SIZE / 512).to_string());
        self.attribute(name, "diskseq", &sequence.to_string());
        let node = self.places.dev.join(name);
        fs::write(&node, vec![0xA5; SIZE]).unwrap();
        node
    }

    pub(crate) fn attribute(&self, name: &str, attribute: &str, value: &str) {
        let path = self.places.sysfs.join("block").join(name).join(attribute);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, value).unwrap();
    }
}

pub(crate) fn is_zero(node: &Path) -> bool {
    fs::read(node).unwrap().iter().all(|byte| *byte == 0)
}

/// The only way to get an order.
fn order(insecure_wipe: bool) -> WipeOrder {
    let orders =
        Orders::read(CreateServerResponse { wipe: true, insecure_wipe, ..CreateServerResponse::default() });
    match next(orders, Memory::default(), tokio::time::Instant::now()) {
        Step::Wipe(order) => order,
        other => panic!("{other:?}"),
    }
}

fn board() -> (Arc<Board>, Arc<Mutex<Vec<String>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = lines.clone();
    (Arc::new(Board::new(move |line| sink.lock().unwrap().push(line.to_owned()))), lines)
}

/// What the plane is told of the machine's disks.
fn reported(machine: &Machine) -> Vec<StorageDevice> {
    crate::inventory::storage::read(&machine.places.sysfs.join("block")).devices
}

async fn wipe(machine: &Machine, expected: &[&str], erased: &mut Erased) -> (Arc<Board>, Vec<String>) {
    let (board, lines) = board();
    let mut reported = reported(machine);
    let gone = expected.iter().filter(|node| !reported.iter().any(|disk| disk.device_name == **node));
    let gone = gone.map(|node| StorageDevice { device_name: (*node).to_owned(), ..StorageDevice::default() });
    reported.extend(gone.collect::<Vec<_>>());
    run(order(false), &machine.places, &reported, &board, erased).await;
    let lines = lines.lock().unwrap().clone();
    (board, lines)
}

#[tokio::test]
async fn all_disks_are_wiped_in_full_and_others_left_alone() {
    let machine = Machine::new();
    let disks: Vec<PathBuf> =
        ["nvme0n1", "sda", "vda"].iter().zip(1..).map(|(name, seq)| machine.disk(name, seq)).collect();
    let others: Vec<PathBuf> =
        ["loop0", "nvme0c0n1", "sr0"].iter().zip(4..).map(|(name, seq)| machine.disk(name, seq)).collect();
    machine.attribute("nvme0c0n1", "hidden", "1");
    let (board, lines) = wipe(&machine, &["/dev/sda"], &mut Erased::default()).await;
    assert!(board.all_wiped(), "{lines:?}");
    assert!(disks.iter().all(|node| is_zero(node)));
    assert!(others.iter().all(|node| !is_zero(node)));
    let names: Vec<String> = board.disks().into_iter().map(|disk| disk.device).collect();
    assert_eq!(names, ["nvme0n1", "sda", "vda"]);
    assert!(board.disks().iter().all(|disk| disk.method == "zeroes" && disk.done == SIZE as u64));
}

#[tokio::test]
async fn one_disk_that_cannot_be_wiped_keeps_the_machine_unclean_and_the_others_are_wiped() {
    let machine = Machine::new();
    let good = machine.disk("sda", 1);
    let protected = machine.disk("sdb", 2);
    machine.attribute("sdb", "ro", "1");
    fs::remove_file(machine.disk("sdc", 3)).unwrap();
    // Opens, has no size and refuses every write.
    std::os::unix::fs::symlink("/dev/full", {
        fs::remove_file(machine.disk("sdd", 4)).unwrap();
        machine.places.dev.join("sdd")
    })
    .unwrap();
    // Has lost half of its capacity since sysfs was read.
    let half = fs::File::options().write(true).open(machine.disk("sde", 5)).unwrap();
    half.set_len(SIZE as u64 / 2).unwrap();
    let (board, lines) = wipe(&machine, &["/dev/sda", "/dev/sdz"], &mut Erased::default()).await;
    assert!(!board.all_wiped());
    assert!(is_zero(&good) && !is_zero(&protected));
    let failed: Vec<(String, String)> = (board.disks().into_iter())
        .filter(|disk| disk.state() == State::Failed)
        .map(|disk| (disk.device, disk.error))
        .collect();
    let names: Vec<&str> = failed.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["sdz", "sdb", "sdc", "sdd", "sde"], "{failed:?}");
    assert!(failed[0].1.contains("is gone") && failed[1].1.contains("write-protected"), "{failed:?}");
    assert!(failed[2].1.contains("No such file"), "{failed:?}");
    assert!(failed[3].1.contains("has 0 bytes now") && failed[4].1.contains("and had"), "{failed:?}");
    assert!(lines.iter().any(|line| line.starts_with("ERROR  sdb IS NOT WIPED")), "{lines:?}");
}

#[tokio::test]
async fn a_second_attempt_leaves_out_what_is_wiped_unless_the_medium_is_another() {
    let machine = Machine::new();
    let (sda, sdb) = (machine.disk("sda", 1), machine.disk("sdb", 2));
    machine.attribute("sdb", "ro", "1");
    let mut erased = Erased::default();
    assert!(!wipe(&machine, &[], &mut erased).await.0.all_wiped());
    // Written here only, so that a second erasing would show.
    fs::write(&sda, vec![1; SIZE]).unwrap();
    machine.attribute("sdb", "ro", "0");
    let (board, _) = wipe(&machine, &[], &mut erased).await;
    assert!(board.all_wiped() && is_zero(&sdb) && !is_zero(&sda));
    assert_eq!(board.disks()[0].method, "zeroes");
    machine.attribute("sda", "diskseq", "9");
    assert!(wipe(&machine, &[], &mut erased).await.0.all_wiped() && is_zero(&sda));
    // A new order after a reported wipe is for all.
    fs::write(&sda, vec![1; SIZE]).unwrap();
    erased.forget();
    assert!(wipe(&machine, &[], &mut erased).await.0.all_wiped() && is_zero(&sda));
}

#[tokio::test]
async fn a_fast_wipe_does_not_stand_for_a_full_one() {
    let machine = Machine::new();
    let disks = disks::find(&machine.places);
    assert!(disks.is_empty());
    machine.disk("sda", 1);
    let disk = disks::find(&machine.places).remove(0);
    let mut erased = Erased::default();
    erased.note(&disk, Thoroughness::Fast, "discard".to_owned());
    assert!(erased.method(&disk, Thoroughness::Fast).is_some());
    assert!(erased.method(&disk, Thoroughness::Full).is_none());
    erased.note(&disk, Thoroughness::Full, "zeroes".to_owned());
    assert!(erased.method(&disk, Thoroughness::Fast).is_some());
    // Without the kernel's number no two disks are known to be the same.
    let unnumbered = Disk { sequence: None, ..disk };
    assert!(erased.method(&unnumbered, Thoroughness::Fast).is_none());
}

#[tokio::test]
async fn a_machine_without_disks_is_clean() {
    let (board, _) = wipe(&Machine::new(), &[], &mut Erased::default()).await;
    assert!(board.all_wiped() && board.disks().is_empty());
}

/// An order that leaves these disks out, each by model and serial number.
fn order_without(exempt: &[(&str, &str)]) -> WipeOrder {
    let exempt_disks = exempt
        .iter()
        .map(|(model, serial)| ExemptDisk { model: (*model).to_owned(), serial: (*serial).to_owned() })
        .collect();
    let response = CreateServerResponse { wipe: true, exempt_disks, ..CreateServerResponse::default() };
    match next(Orders::read(response), Memory::default(), tokio::time::Instant::now()) {
        Step::Wipe(order) => order,
        other => panic!("{other:?}"),
    }
}

fn name(machine: &Machine, disk: &str, model: &str, serial: &str) {
    machine.attribute(disk, "device/model", model);
    machine.attribute(disk, "serial", serial);
}

async fn wipe_with(
    order: WipeOrder,
    machine: &Machine,
    reported: &[StorageDevice],
) -> (Arc<Board>, Vec<String>) {
    let (board, lines) = board();
    run(order, &machine.places, reported, &board, &mut Erased::default()).await;
    let lines = lines.lock().unwrap().clone();
    (board, lines)
}

/// The disks in this state, with what is said of them.
fn in_state(board: &Board, state: State) -> Vec<(String, String)> {
    let disks = board.disks().into_iter().filter(|disk| disk.state() == state);
    disks.map(|disk| (disk.device, disk.error)).collect()
}

#[tokio::test]
async fn disks_whose_owner_takes_the_responsibility_are_left_and_do_not_keep_the_machine_unclean() {
    let machine = Machine::new();
    let kept = machine.disk("sda", 1);
    name(&machine, "sda", "ST4000", "ZC1");
    let twin = machine.disk("sdb", 2);
    name(&machine, "sdb", "ST4000", "ZC2");
    // As management controllers show them: write-protected and removable, or without capacity and not removable.
    let protected = machine.disk("sdc", 3);
    name(&machine, "sdc", "LUN 01 Media 0", "");
    machine.attribute("sdc", "ro", "1");
    machine.attribute("sdc", "removable", "1");
    machine.attribute("sdd", "size", "0");
    name(&machine, "sdd", "Virtual HDisk0", "");
    machine.attribute("sdd", "removable", "0");
    let exempt = [("ST4000", "ZC1"), ("LUN 01 Media 0", ""), ("Virtual HDisk0", "")];
    let (board, lines) = wipe_with(order_without(&exempt), &machine, &reported(&machine)).await;
    assert!(board.all_wiped(), "{lines:?}");
    assert!(!is_zero(&kept) && is_zero(&twin) && !is_zero(&protected));
    let left: Vec<String> = in_state(&board, State::Exempt).into_iter().map(|(device, _)| device).collect();
    assert_eq!(left, ["sda", "sdc", "sdd"]);
    let methods: Vec<String> = board.disks().into_iter().map(|disk| disk.method).collect();
    assert_eq!(methods, ["exempt", "exempt", "zeroes", "exempt"]);
    assert!(lines.iter().any(|line| line.starts_with("LEFT   sda is not wiped: its owner")), "{lines:?}");
    // Without the owner's word each of them keeps it unclean.
    let (board, _) = wipe_with(order_without(&exempt[..1]), &machine, &reported(&machine)).await;
    let failed: Vec<String> = in_state(&board, State::Failed).into_iter().map(|(device, _)| device).collect();
    assert_eq!(failed, ["sdc", "sdd"]);
}

#[tokio::test]
async fn a_disk_without_a_serial_number_is_wiped_if_it_can_be_whatever_its_model() {
    let machine = Machine::new();
    let node = machine.disk("sda", 1);
    name(&machine, "sda", "LUN 01 Media 0", "");
    let order = order_without(&[("LUN 01 Media 0", "")]);
    assert!(wipe_with(order, &machine, &reported(&machine)).await.0.all_wiped());
    assert!(is_zero(&node));
}

#[tokio::test]
async fn a_disk_that_the_plane_was_not_told_of_is_wiped_only_if_it_is_blank() {
    let machine = Machine::new();
    let known = machine.disk("sda", 1);
    name(&machine, "sda", "ST4000", "ZC1");
    let told = reported(&machine);
    let late = machine.disk("sdb", 2);
    let blank = machine.disk("sdc", 3);
    fs::write(blank, vec![0; SIZE]).unwrap();
    let (board, lines) = wipe_with(order(false), &machine, &told).await;
    assert!(is_zero(&known) && !is_zero(&late) && !board.all_wiped(), "{lines:?}");
    let failed = in_state(&board, State::Failed);
    assert!(failed.len() == 1 && failed[0].0 == "sdb" && failed[0].1.contains("holds data"), "{failed:?}");
    // Another disk under a name that the plane knows.
    fs::write(&known, vec![0xA5; SIZE]).unwrap();
    name(&machine, "sda", "ST4000", "ZC9");
    let (board, _) = wipe_with(order(false), &machine, &told).await;
    assert!(!is_zero(&known) && !board.all_wiped());
    // Once it was told, the next order is for it as well.
    assert!(wipe_with(order(false), &machine, &reported(&machine)).await.0.all_wiped());
    assert!(is_zero(&known) && is_zero(&late));
}

#[tokio::test]
async fn the_report_speaks_of_each_disk_of_the_inventory() {
    let machine = Machine::new();
    for (disk, sequence) in [("nvme0n1", 1), ("sda", 2), ("sdb", 3)] {
        machine.disk(disk, sequence);
        name(&machine, disk, "M", &format!("S{sequence}"));
    }
    machine.attribute("sdb", "ro", "1");
    let mut told = reported(&machine);
    told.push(StorageDevice {
        device_name: "/dev/sdz".to_owned(),
        model: "M".to_owned(),
        serial: "S9".to_owned(),
        ..StorageDevice::default()
    });
    let (board, _) = wipe_with(order_without(&[("M", "S2")]), &machine, &told).await;
    let spoken = |device: &StorageDevice| {
        board.disks().iter().any(|disk| {
            format!("/dev/{}", disk.device) == device.device_name
                && disk.serial == device.serial
                && disk.model == device.model
        })
    };
    assert!(told.iter().all(spoken), "{:?}", board.disks());
    assert_eq!(board.disks().len(), told.len());
}

#[test]
fn disks_are_described_by_sysfs_alone() {
    let machine = Machine::new();
    for (attribute, value) in [
        ("size", "2048"),
        ("ro", "1"),
        ("queue/discard_max_bytes", "4096"),
        ("sda2/partition", "2"),
        ("sda2/start", "100"),
        ("sda2/size", "10"),
        ("sda1/partition", "1"),
        ("sda1/start", "8"),
        ("sda1/size", "8"),
        ("sda1/holders/dm-0/dm/name", "vg-root"),
        ("holders/md127/x", ""),
    ] {
        machine.attribute("sda", attribute, value);
    }
    for (name, size, removable) in [("sdb", "0", "1"), ("sdc", "0", "0"), ("sr0", "0", "0")] {
        machine.attribute(name, "size", size);
        machine.attribute(name, "removable", removable);
    }
    for name in ["nvme0n1", "nvme10n1", "nvme10n2"] {
        machine.attribute(name, "size", "8");
    }
    let found = disks::find(&machine.places);
    let alone: Vec<(&str, bool)> = found.iter().map(|disk| (disk.name.as_str(), disk.alone)).collect();
    assert_eq!(alone, [("nvme0n1", true), ("nvme10n1", false), ("nvme10n2", false), ("sda", true)]);
    let sda = &found[3];
    assert!(sda.read_only && sda.discards && sda.sequence.is_none());
    assert_eq!(sda.partitions, [8 * 512..16 * 512, 100 * 512..110 * 512]);
    assert_eq!(disks::holders(&sda.sysfs), ["dm-0 (vg-root)", "md127"]);
    assert_eq!(disks::without_capacity(&machine.places), ["sdc"]);
}

#[tokio::test]
async fn a_machine_whose_disks_may_not_all_be_seen_is_not_clean() {
    let machine = Machine::new();
    let good = machine.disk("sda", 1);
    machine.attribute("sdb", "size", "0");
    let controller = machine.places.sysfs.join("bus/pci/devices/0000:03:00.0");
    fs::create_dir_all(&controller).unwrap();
    fs::write(controller.join("class"), "0x010802\n").unwrap();
    let (board, lines) = wipe(&machine, &[], &mut Erased::default()).await;
    assert!(is_zero(&good) && !board.all_wiped(), "{lines:?}");
    let failed: Vec<String> = (board.disks().into_iter())
        .filter(|disk| disk.state() == State::Failed)
        .map(|disk| disk.device)
        .collect();
    assert_eq!(failed, ["sdb", "PCI 0000:03:00.0"], "{lines:?}");
}

#[tokio::test]
async fn a_wipe_that_is_dropped_midway_is_not_taken_for_done() {
    let machine = Machine::new();
    let node = machine.disk("sda", 1);
    let (board, _) = board();
    let mut erased = Erased::default();
    {
        let reported = reported(&machine);
        let wiping = run(order(false), &machine.places, &reported, &board, &mut erased);
        tokio::pin!(wiping);
        // One poll starts the thread; then the agent dies.
        assert!(futures_poll_once(wiping.as_mut()).await);
    }
    assert!(!board.all_wiped());
    let disk = disks::find(&machine.places).remove(0);
    assert!(erased.method(&disk, Thoroughness::Fast).is_none(), "{}", node.display());
}

/// Whether the future is still at work after one poll.
async fn futures_poll_once(mut future: std::pin::Pin<&mut impl Future<Output = ()>>) -> bool {
    std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context).is_pending())).await
}
