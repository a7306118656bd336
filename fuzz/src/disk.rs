//! A small disk with anything on it: looked at within its bounds, and blank only if all of it is zero.
use std::io;

struct Disk<'data>(&'data [u8]);

impl agent::contents::ReadAt for Disk<'_> {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn sector(&self) -> u64 {
        512
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).expect("an offset on the disk");
        // Panics if the read leaves the disk.
        buffer.copy_from_slice(&self.0[start..start + buffer.len()]);
        Ok(())
    }
}

/// One input.
pub fn run(data: &[u8]) {
    let findings = agent::contents::look(&Disk(data), 0, &|| true);
    assert_eq!(findings.is_blank(), data.iter().all(|byte| *byte == 0), "{findings:?}");
}
