//! Against the tools that others use on the same disk: sfdisk, the `gpt` crate, mkfs.ext4, e2fsck.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use super::super::decide::{Decision, MIN_STATE_BYTES, STATE, STATE_NEW};
use super::super::gpt::{Copies, Entry, Geometry};
use super::super::steps::Steps;
use super::super::{Failure, How, heal_table};
use super::{DISK_BYTES, SECTOR, decision, flashed, open};

/// Runs a tool of Debian.
fn tool(program: &str, args: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(args).output();
    let output =
        output.unwrap_or_else(|error| panic!("failed to start {program}, see `make setup`: {error}"));
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Formats a partition of the file with the real mkfs: on a file of its own, copied in.
fn mkfs(disk: &File, entry: &Entry, directory: &Path) {
    let path = directory.join("partition.img");
    File::create(&path).unwrap().set_len(entry.sectors() * SECTOR).unwrap();
    let name = path.to_str().unwrap();
    let args = ["-q", "-F", "-L", STATE, "-E", "lazy_itable_init=1,nodiscard", name];
    let (made, output) = tool("/usr/sbin/mkfs.ext4", &args);
    assert!(made, "{output}");
    let mut start = vec![0; 1 << 20];
    File::open(&path).unwrap().read_exact_at(&mut start, 0).unwrap();
    disk.write_all_at(&start, entry.first * SECTOR).unwrap();
}

fn carry_out(file: &File, geometry: Geometry, directory: &Path) -> Result<(Entry, How), Failure> {
    let copies = Copies::read(file, geometry);
    let steps = Steps { storage: file, geometry, disk: directory };
    steps.carry_out(decision(file, geometry), &copies, &mut |entry| {
        mkfs(file, entry, directory);
        Ok(())
    })
}

#[test]
fn other_tools_accept_the_table() {
    let directory = tempfile::tempdir().unwrap();
    let path = flashed(directory.path(), DISK_BYTES);
    let (file, geometry) = open(&path);
    let (entry, how) = carry_out(&file, geometry, directory.path()).unwrap();
    assert_eq!((how, entry.number), (How::Created, 5));

    let theirs = gpt::GptConfig::new().only_valid_headers(true).open(&path).unwrap();
    let names: Vec<&str> = theirs.partitions().values().map(|partition| partition.name.as_str()).collect();
    assert_eq!(names, ["bios", "esp", "root-a", "root-b", STATE]);
    let state = &theirs.partitions()[&5];
    assert_eq!((state.first_lba, state.last_lba), (entry.first, entry.last));
    assert_eq!(state.part_type_guid, gpt::partition_types::LINUX_FS);
    assert_eq!(state.part_guid.get_version_num(), 4);

    let (valid, output) = tool("/usr/sbin/sfdisk", &["--verify", path.to_str().unwrap()]);
    assert!(valid, "{output}");
    // The protective record still has the image's size, which sfdisk mentions and nobody minds.
    assert!(!output.to_lowercase().contains("corrupt"), "{output}");
    let (dumped, dump) = tool("/usr/sbin/sfdisk", &["--dump", path.to_str().unwrap()]);
    assert!(dumped && dump.contains("name=\"state\""), "{dump}");
    assert!(dump.contains(&format!("last-lba: {}", DISK_BYTES / SECTOR - 34)), "{dump}");
}

#[test]
fn the_real_file_system_is_found_again_and_checked() {
    let directory = tempfile::tempdir().unwrap();
    let (file, geometry) = open(&flashed(directory.path(), DISK_BYTES));
    let (entry, _) = carry_out(&file, geometry, directory.path()).unwrap();
    match decision(&file, geometry) {
        Decision::Use(found) => assert_eq!(found, entry),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_image_flashed_again_finds_its_old_state() {
    let directory = tempfile::tempdir().unwrap();
    let path = flashed(directory.path(), DISK_BYTES);
    let (file, geometry) = open(&path);
    let (entry, _) = carry_out(&file, geometry, directory.path()).unwrap();
    // The image anew: its table, and zeros where its own backup was; the rest of the disk stays.
    let fresh = tempfile::tempdir().unwrap();
    let image = std::fs::read(flashed(fresh.path(), super::IMAGE_BYTES)).unwrap();
    file.write_all_at(&image, 0).unwrap();
    let Decision::Adopt(adopted) = decision(&file, geometry) else {
        panic!("{:?}", decision(&file, geometry))
    };
    assert_eq!((adopted.first, adopted.last), (entry.first, entry.last));
    let (again, how) = carry_out(&file, geometry, directory.path()).unwrap();
    assert_eq!((again.name.as_str(), how), (STATE, How::Adopted));
    assert!(matches!(decision(&file, geometry), Decision::Use(_)));
}

#[test]
fn a_primary_cut_in_half_is_healed_where_it_names_the_root() {
    let directory = tempfile::tempdir().unwrap();
    let path = flashed(directory.path(), DISK_BYTES);
    let (file, geometry) = open(&path);
    carry_out(&file, geometry, directory.path()).unwrap();
    file.write_all_at(&[0xff; 8], SECTOR * 3 + 16).unwrap();
    assert!(Copies::read(&file, geometry).primary.is_err());
    assert!(!heal_table(&path, "no-such-root").unwrap());
    assert!(heal_table(&path, "root-a").unwrap());
    assert!(Copies::read(&file, geometry).agree());
    assert!(!heal_table(&path, "root-a").unwrap());
}

#[test]
fn a_disk_that_is_hardly_larger_than_the_image_has_no_room() {
    let directory = tempfile::tempdir().unwrap();
    let (file, geometry) = open(&flashed(directory.path(), super::IMAGE_BYTES + (MIN_STATE_BYTES >> 1)));
    let before = std::fs::read(directory.path().join("disk.img")).unwrap();
    let failure = carry_out(&file, geometry, directory.path()).unwrap_err();
    assert!(matches!(failure, Failure::NoRoom { needed_bytes: MIN_STATE_BYTES, .. }), "{failure:?}");
    assert!(before == std::fs::read(directory.path().join("disk.img")).unwrap(), "nothing may be written");
}

#[test]
fn an_unfinished_partition_is_named_so_until_its_format_is_complete() {
    let directory = tempfile::tempdir().unwrap();
    let (file, geometry) = open(&flashed(directory.path(), DISK_BYTES));
    let copies = Copies::read(&file, geometry);
    let steps = Steps { storage: &file, geometry, disk: directory.path() };
    let failure = steps.carry_out(decision(&file, geometry), &copies, &mut |_| Err(Failure::NoDisk));
    assert!(matches!(failure, Err(Failure::NoDisk)));
    let Decision::FinishFormat(entry) = decision(&file, geometry) else { panic!() };
    assert_eq!(entry.name, STATE_NEW);
}
