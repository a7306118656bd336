//! Signatures of Linux RAID and LVM with valid checksums, so that a kernel or udev takes them for real.

/// Version 1.2 has its superblock 4 KiB behind the beginning.
pub(super) const MD_OFFSET: u64 = 4096;
/// The label is in the second sector.
pub(super) const LVM_OFFSET: u64 = 512;

const MD_MAGIC: u32 = 0xa92b_4efc;
/// Fixed part and one role per device, for a RAID 1 of two.
const MD_LENGTH: usize = 256 + 2 * MD_DEVICES;
const MD_DEVICES: usize = 2;
const MD_CHECKSUM: usize = 216;

const LVM_LABEL: usize = 512;
const LVM_CRC_START: u32 = 0xf597_a6cf;
const CRC_POLYNOMIAL: u32 = 0xedb8_8320;

/// The superblock of the first of two members (`struct mdp_superblock_1`).
pub(super) fn md(sectors: u64) -> Vec<u8> {
    let mut block = vec![0; MD_LENGTH];
    let data_offset = 2048;
    let size = sectors - data_offset;
    put32(&mut block, 0, MD_MAGIC);
    put32(&mut block, 4, 1);
    block[16..32].copy_from_slice(b"bloomery-lab-set");
    block[32..37].copy_from_slice(b"lab:0");
    put32(&mut block, 72, 1);
    put64(&mut block, 80, size);
    put32(&mut block, 92, 2);
    put64(&mut block, 128, data_offset);
    put64(&mut block, 136, size);
    put64(&mut block, 144, MD_OFFSET / 512);
    block[168..184].copy_from_slice(b"bloomery-lab-dev");
    put64(&mut block, 200, 1);
    put64(&mut block, 208, u64::MAX);
    put32(&mut block, 220, 2);
    // Member 0 is this one, member 1 is the other one.
    block[258] = 1;
    let sum: u64 = block.chunks(4).map(|word| u64::from(word_of(word))).sum();
    let folded = (sum & 0xffff_ffff) + (sum >> 32);
    put32(&mut block, MD_CHECKSUM, low32(folded));
    block
}

/// The label and header of a physical volume.
pub(super) fn lvm(bytes: u64) -> Vec<u8> {
    let mut label = vec![0; LVM_LABEL];
    label[..8].copy_from_slice(b"LABELONE");
    put64(&mut label, 8, 1);
    put32(&mut label, 20, 32);
    label[24..32].copy_from_slice(b"LVM2 001");
    label[32..64].copy_from_slice(b"bloomerylabbloomerylabbloomeryla");
    put64(&mut label, 64, bytes);
    let crc = crc(&label[20..]);
    put32(&mut label, 16, crc);
    label
}

/// LVM's CRC-32: the usual polynomial, another start, nothing at the end.
fn crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(LVM_CRC_START, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| {
                if crc & 1 == 1 { (crc >> 1) ^ CRC_POLYNOMIAL } else { crc >> 1 }
            },
        )
    })
}

fn word_of(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, byte| (word << 8) | u32::from(*byte))
}

fn low32(number: u64) -> u32 {
    let bytes = number.to_le_bytes();
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn put32(block: &mut [u8], offset: usize, value: u32) {
    block[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
}

fn put64(block: &mut [u8], offset: usize, value: u64) {
    block[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
}
