//! SMBIOS as firmware may write it: the first 32 octets are the entry point, the rest the table.
/// One input.
pub fn run(data: &[u8]) {
    let (entry_point, table) = data.split_at(data.len().min(32));
    let _ = agent::inventory::smbios::parse(entry_point, table.to_vec());
}
