//! Files that stand for disks, in a sysfs made by hand.

use std::fs;

use super::*;
use crate::inventory::storage;
use crate::wipe::tests::Machine;

async fn describe(survey: &Survey, machine: &Machine) -> Vec<(String, DiskContents)> {
    let mut storage = storage::read(&machine.places.sysfs.join(storage::BLOCK_DEVICES));
    survey.describe(&mut storage).await;
    let told = storage.devices.into_iter().map(|disk| (disk.device_name, disk.contents.unwrap()));
    told.collect()
}

fn found(contents: &DiskContents) -> Vec<&str> {
    contents.found.iter().map(String::as_str).collect()
}

#[tokio::test]
async fn each_disk_says_what_it_holds_and_a_blank_one_nothing() {
    let machine = Machine::new();
    machine.disk("sda", 1);
    let blank = machine.disk("sdb", 2);
    fs::write(&blank, vec![0; 5 << 20]).unwrap();
    let swap = machine.disk("sdc", 3);
    let mut bytes = vec![0; 5 << 20];
    bytes[4086..4096].copy_from_slice(b"SWAPSPACE2");
    fs::write(swap, bytes).unwrap();
    let told = describe(&Survey::new(machine.places.clone()), &machine).await;
    assert!(told.iter().all(|(_, contents)| contents.read), "{told:?}");
    let told: Vec<(&str, Vec<&str>)> =
        told.iter().map(|(name, contents)| (name.as_str(), found(contents))).collect();
    assert_eq!(told, [("/dev/sda", vec!["data"]), ("/dev/sdb", vec![]), ("/dev/sdc", vec!["swap"])]);
}

#[tokio::test]
async fn a_disk_that_cannot_be_opened_or_has_shrunk_is_not_blank() {
    let machine = Machine::new();
    fs::remove_file(machine.disk("sda", 1)).unwrap();
    let half = fs::File::options().write(true).open(machine.disk("sdb", 2)).unwrap();
    half.set_len(1 << 20).unwrap();
    let told = describe(&Survey::new(machine.places.clone()), &machine).await;
    for ((_, contents), part) in told.iter().zip(["failed to open it for reading", "it has 1048576 bytes"]) {
        assert!(!contents.read && contents.error.contains(part), "{contents:?}");
    }
}

#[tokio::test]
async fn what_may_be_a_disk_and_is_not_seen_is_listed_as_not_read() {
    let machine = Machine::new();
    machine.attribute("sdb", "size", "0");
    machine.attribute("sdb", "device/model", "Virtual HDisk0");
    let controller = machine.places.sysfs.join("bus/pci/devices/0000:03:00.0");
    fs::create_dir_all(&controller).unwrap();
    fs::write(controller.join("class"), "0x010802\n").unwrap();
    let told = describe(&Survey::new(machine.places.clone()), &machine).await;
    let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["sdb", "PCI 0000:03:00.0"]);
    // Its owner exempts it by this name.
    let mut storage = StorageInformation::default();
    Survey::new(machine.places.clone()).describe(&mut storage).await;
    assert_eq!(storage.devices[0].model, "Virtual HDisk0");
    assert!(told.iter().all(|(_, contents)| !contents.read && !contents.error.is_empty()), "{told:?}");
}

#[tokio::test]
async fn a_disk_that_does_not_answer_holds_nobody_up_and_is_told_when_it_does() {
    let machine = Machine::new();
    machine.disk("sda", 1);
    let pipe = machine.places.dev.join("sdb");
    machine.disk("sdb", 2);
    fs::remove_file(&pipe).unwrap();
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // A pipe has no size: it is said at once, and asked anew at once.
    let survey = Survey::new(machine.places.clone()).waiting_for(Duration::ZERO);
    let told = describe(&survey, &machine).await;
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|(_, contents)| contents.read || !contents.error.is_empty()), "{told:?}");
    let told = describe(&survey.waiting_for(Duration::from_mins(1)), &machine).await;
    assert_eq!(found(&told[0].1), ["data"]);
}

#[tokio::test]
async fn a_disk_is_read_once_until_its_medium_changes_or_something_was_written() {
    let machine = Machine::new();
    let node = machine.disk("sda", 1);
    let survey = Survey::new(machine.places.clone());
    assert_eq!(found(&describe(&survey, &machine).await[0].1), ["data"]);
    fs::write(&node, vec![0; 5 << 20]).unwrap();
    assert_eq!(found(&describe(&survey, &machine).await[0].1), ["data"]);
    machine.attribute("sda", "diskseq", "2");
    assert_eq!(found(&describe(&survey, &machine).await[0].1), [""; 0]);
    fs::write(&node, vec![1; 5 << 20]).unwrap();
    survey.forget().await;
    assert_eq!(found(&describe(&survey, &machine).await[0].1), ["data"]);
    // Without the kernel's number a medium may have been changed unseen.
    fs::remove_file(machine.places.sysfs.join("block/sda/diskseq")).unwrap();
    describe(&survey, &machine).await;
    fs::write(&node, vec![0; 5 << 20]).unwrap();
    assert_eq!(found(&describe(&survey, &machine).await[0].1), [""; 0]);
}
