//! On files; `agent/tests/` does it on loop devices.

use std::io::Write;

use super::*;

fn file(bytes: usize) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&vec![0xA5; bytes]).unwrap();
    file
}

#[test]
fn zeroes_exactly_the_range_that_it_was_given() {
    let file = file(3 << 20);
    let disk = Disk::open(file.path()).unwrap();
    assert_eq!((disk.size(), disk.sector()), (3 << 20, 512));
    disk.write_zeroes(&(1000..(2 << 20) + 7)).unwrap();
    disk.flush().unwrap();
    let bytes = std::fs::read(file.path()).unwrap();
    assert!(bytes[..1000].iter().all(|byte| *byte == 0xA5));
    assert!(bytes[1000..(2 << 20) + 7].iter().all(|byte| *byte == 0));
    assert!(bytes[(2 << 20) + 7..].iter().all(|byte| *byte == 0xA5));
    assert_eq!(disk.first_non_zero(&(1000..(2 << 20) + 7)).unwrap(), None);
    assert_eq!(disk.first_non_zero(&(1024..3 << 20)).unwrap(), Some((2 << 20) + 7));
    assert_eq!(disk.first_non_zero(&(0..512)).unwrap(), Some(0));
}

#[test]
fn reading_beyond_the_end_is_an_error_and_not_zeroes() {
    let file = file(4096);
    let disk = Disk::open(file.path()).unwrap();
    disk.write_zeroes(&(0..4096)).unwrap();
    assert!(disk.first_non_zero(&(0..8192)).is_err());
}

#[test]
fn a_file_knows_no_requests_of_disks() {
    let file = file(4096);
    let disk = Disk::open(file.path()).unwrap();
    for result in [disk.discard(&(0..512)), disk.discard_securely(&(0..512)), disk.zero_out(&(0..512))] {
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::Unsupported);
    }
    assert!(!disk.discard_zeroes());
    disk.forget_partitions().unwrap();
}

#[test]
fn a_disk_that_takes_no_writes_is_an_error() {
    // /dev/full is opened like a disk, has no size, and refuses every write.
    let disk = Disk::open(Path::new("/dev/full")).unwrap();
    let error = disk.write_zeroes(&(0..512)).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
    assert!(matches!(Disk::open(Path::new("/nonexistent")), Err(Error::Open(_))));
}
