//! Tables made by hand as DSP0134 lays them out, and mutations of them.

use proptest::prelude::*;

use super::*;

const UUID_BYTES: [u8; 16] =
    [0x44, 0x45, 0x4c, 0x4c, 0x42, 0x00, 0x10, 0x31, 0x80, 0x51, 0xb4, 0xc0, 0x4f, 0x31, 0x32, 0x33];
const V2_5: &[u8] = b"_SM_\x00\x1f\x02\x05";
const V2_8: &[u8] = b"_SM_\x00\x1f\x02\x08";
const V3_0: &[u8] = b"_SM3_\x00\x18\x03\x00\x00";

/// One structure: type, the formatted part after the header, strings.
fn structure(kind: u8, body: &[u8], strings: &[&str]) -> Vec<u8> {
    let length = u8::try_from(body.len() + 4).unwrap();
    let mut bytes = vec![kind, length, 0, 0];
    bytes.extend_from_slice(body);
    for string in strings {
        bytes.extend_from_slice(string.as_bytes());
        bytes.push(0);
    }
    if strings.is_empty() {
        bytes.push(0);
    }
    bytes.push(0);
    bytes
}

fn system(uuid: [u8; 16]) -> Vec<u8> {
    let body = [&[1, 2, 3, 4], &uuid[..], &[6, 5, 6]].concat();
    structure(1, &body, &["LabCo", "LabServer", "1.0", " SN000123 ", "SKU1", "Fam"])
}

/// A type 4 structure of SMBIOS 3.0; the counts are the byte and the word fields.
fn cpu(status: u8, cores: (u8, u16), threads: (u8, u16)) -> Vec<u8> {
    let mut body = vec![0; 0x30 - 4];
    let mut put =
        |offset: usize, bytes: &[u8]| body[offset - 4..offset - 4 + bytes.len()].copy_from_slice(bytes);
    put(0x07, &[1]);
    put(0x10, &[2]);
    put(0x16, &2400_u16.to_le_bytes());
    put(0x18, &[status]);
    put(0x20, &[3]);
    put(0x23, &[cores.0]);
    put(0x25, &[threads.0]);
    put(0x2a, &cores.1.to_le_bytes());
    put(0x2e, &threads.1.to_le_bytes());
    structure(4, &body, &["GenuineIntel", "Xeon Gold 9", "CPU1"])
}

/// A type 17 structure of SMBIOS 2.8; size field, extended size.
fn dimm(size: u16, extended: u32, kind: u8) -> Vec<u8> {
    let mut body = vec![0; 0x28 - 4];
    let mut put =
        |offset: usize, bytes: &[u8]| body[offset - 4..offset - 4 + bytes.len()].copy_from_slice(bytes);
    put(0x0c, &size.to_le_bytes());
    put(0x12, &[kind]);
    put(0x15, &3200_u16.to_le_bytes());
    put(0x17, &[1, 2, 0, 3]);
    put(0x1c, &extended.to_le_bytes());
    structure(17, &body, &["Samsung", "M1234", "P/N 7"])
}

fn end() -> Vec<u8> {
    structure(127, &[], &[])
}

fn parsed(entry_point: &[u8], structures: &[Vec<u8>]) -> Firmware {
    parse(entry_point, structures.concat()).unwrap()
}

#[test]
fn reads_the_system_and_leaves_its_version_out() {
    let firmware = parsed(V2_8, &[system(UUID_BYTES), end()]);
    assert_eq!(
        firmware.system,
        SystemInformation {
            uuid: "4c4c4544-0042-3110-8051-b4c04f313233".to_owned(),
            manufacturer: "LabCo".to_owned(),
            product_name: "LabServer".to_owned(),
            version: String::new(),
            serial_number: "SN000123".to_owned(),
            sku_number: "SKU1".to_owned(),
            family: "Fam".to_owned(),
        }
    );
}

#[test]
fn the_byte_order_of_the_uuid_follows_the_version() {
    let uuid = |entry_point| parsed(entry_point, &[system(UUID_BYTES)]).system.uuid;
    assert_eq!(uuid(V2_5), "44454c4c-4200-1031-8051-b4c04f313233");
    assert_eq!(uuid(b"_SM_\x00\x1f\x02\x06"), "4c4c4544-0042-3110-8051-b4c04f313233");
    assert_eq!(uuid(V3_0), "4c4c4544-0042-3110-8051-b4c04f313233");
}

#[test]
fn an_all_zero_or_all_one_uuid_is_no_identity() {
    for byte in [0, 0xff] {
        assert_eq!(parsed(V2_8, &[system([byte; 16])]).system.uuid, "");
    }
}

#[test]
fn counts_populated_sockets_and_large_core_counts() {
    let populated = 0x41;
    let firmware = parsed(
        V3_0,
        &[
            cpu(populated, (8, 8), (16, 16)),
            cpu(0x00, (8, 8), (16, 16)),
            cpu(populated, (0xff, 300), (0xff, 600)),
            cpu(populated, (0, 0), (0, 0)),
        ],
    );
    let compute = firmware.compute;
    assert_eq!(
        (compute.processor_count, compute.total_core_count, compute.total_thread_count),
        (3, 308, 616)
    );
    assert_eq!(
        compute.processors[0],
        Processor {
            manufacturer: "GenuineIntel".to_owned(),
            product_name: "Xeon Gold 9".to_owned(),
            serial_number: "CPU1".to_owned(),
            speed: 2400,
            core_count: 8,
            thread_count: 16,
        }
    );
}

#[test]
fn memory_sizes_are_megabytes_whatever_the_unit() {
    let firmware = parsed(
        V2_8,
        &[
            dimm(0x4000, 0, 0x1a),           // 16 GiB
            dimm(0x7fff, 128 * 1024, 0x22),  // 128 GiB in the extended size
            dimm(0x7fff, 0x8000_8000, 0x18), // the reserved bit does not count: 32 GiB
            dimm(0x8100, 0, 0x0f),           // 256 KB
            dimm(0x9000, 0, 0x0f),           // 4096 KB
            dimm(0, 0, 0x1a),                // empty slot
            dimm(0xffff, 0, 0x1a),           // unknown
            dimm(0x7fff, 0, 0x1a),           // extended size missing
        ],
    );
    let sizes: Vec<u32> = firmware.memory.modules.iter().map(|module| module.size).collect();
    assert_eq!(sizes, [16384, 131_072, 32768, 1, 4]);
    assert_eq!(firmware.memory.module_count, 5);
    assert_eq!(firmware.memory.total_size, 16384 + 131_072 + 32768 + 1 + 4);
    assert_eq!(
        firmware.memory.modules[0],
        MemoryModule {
            manufacturer: "Samsung".to_owned(),
            product_name: "P/N 7".to_owned(),
            serial_number: "M1234".to_owned(),
            r#type: "DDR4".to_owned(),
            size: 16384,
            speed: 3200,
        }
    );
    assert_eq!(firmware.memory.modules[1].r#type, "DDR5");
}

#[test]
fn old_short_structures_give_what_they_have() {
    // Type 1 of SMBIOS 2.0 has no UUID, type 4 of 2.0 no counts, type 17 of 2.1 no manufacturer.
    let mut old_cpu = vec![0; 0x1a - 4];
    old_cpu[0x18 - 4] = 0x41;
    let mut old_dimm = vec![0; 0x15 - 4];
    old_dimm[0x0c - 4..0x0e - 4].copy_from_slice(&512_u16.to_le_bytes());
    let firmware = parsed(
        b"_DMI_\x00\x00\x00\x00\x00\x00\x00\x00\x00\x20",
        &[
            structure(1, &[1, 2, 3, 4], &["Old", "Box", "1", "S"]),
            structure(4, &old_cpu, &[]),
            structure(17, &old_dimm, &[]),
        ],
    );
    assert_eq!((firmware.system.uuid.as_str(), firmware.system.manufacturer.as_str()), ("", "Old"));
    assert_eq!((firmware.compute.processor_count, firmware.compute.total_core_count), (1, 0));
    assert_eq!((firmware.memory.total_size, firmware.memory.modules[0].speed), (512, 0));
}

#[test]
fn nothing_behind_the_end_marker_counts() {
    let firmware = parsed(V2_8, &[system(UUID_BYTES), end(), dimm(0x4000, 0, 0x1a)]);
    assert_eq!(firmware.memory.module_count, 0);
}

#[test]
fn missing_files_and_foreign_entry_points_are_errors_not_panics() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(read(dir.path()), Err(Error::Read { .. })));
    assert!(matches!(parse(b"nothing", Vec::new()), Err(Error::EntryPoint)));
    std::fs::write(dir.path().join("smbios_entry_point"), V2_8).unwrap();
    std::fs::write(dir.path().join("DMI"), system(UUID_BYTES)).unwrap();
    assert_eq!(read(dir.path()).unwrap().system.manufacturer, "LabCo");
}

/// The tables of a whole small server.
fn whole() -> Vec<u8> {
    [
        system(UUID_BYTES),
        cpu(0x41, (8, 8), (16, 16)),
        cpu(0x41, (0xff, 300), (0xff, 600)),
        dimm(0x7fff, 128 * 1024, 0x22),
        dimm(0x9000, 0, 0x0f),
        end(),
    ]
    .concat()
}

proptest! {
    #[test]
    fn mutated_tables_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        cut in any::<prop::sample::Index>(),
        keep: bool,
        version in prop::sample::select(vec![V2_5, V2_8, V3_0]),
    ) {
        let mut table = whole();
        for (place, value) in changes {
            let place = place.index(table.len());
            table[place] = value;
        }
        if !keep {
            table.truncate(cut.index(table.len()));
        }
        let firmware = parse(version, table).unwrap();
        prop_assert_eq!(firmware.memory.module_count as usize, firmware.memory.modules.len());
        prop_assert_eq!(firmware.compute.processor_count as usize, firmware.compute.processors.len());
    }

    #[test]
    fn arbitrary_bytes_never_panic(entry_point: Vec<u8>, table: Vec<u8>) {
        let _ = parse(&entry_point, table.clone());
        prop_assert!(parse(V3_0, table).is_ok());
    }
}
