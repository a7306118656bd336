//! Servers that share a mark.

/// What two have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SharedMark {
    /// A system UUID.
    Uuid(String),
    /// A hardware address.
    Card(String),
    /// A serial number.
    Serial(String),
}

impl SharedMark {
    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Uuid(uuid) => format!("system UUID {uuid}"),
            Self::Card(card) => format!("network card {card}"),
            Self::Serial(serial) => format!("serial number {serial}"),
        }
    }
}

/// A Server, or one that the ledger remembers, that shares a mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub server: String,
    /// The strongest mark that is shared.
    pub mark: SharedMark,
    /// Whether a cluster has or may have it.
    pub claimed: bool,
    /// Whether only the ledger knows it.
    pub is_tombstone: bool,
}
