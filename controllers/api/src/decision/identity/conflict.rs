//! Servers that may be one machine, or machines that show one name: what is shown and what is held.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Index, Marks, Peer, SharedMark, rivals};
use crate::condition::Condition;
use crate::server::Server;

/// Condition of a Server that shares a mark with another, or whose UUID another machine shows.
pub const IDENTITY_CONFLICT: &str = "IdentityConflict";

/// Servers named in one message.
const MOST_NAMED: usize = 4;

/// Why nobody can tell which machine a Server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The Servers that it may be one machine with.
    pub peers: Vec<Peer>,
    /// Other machines that showed its marks.
    pub rivals: Vec<Marks>,
}

impl Conflict {
    /// The conflict of this Server, if there is one.
    pub fn of(server: &Server, index: &Index) -> Option<Self> {
        let name = server.metadata.name.as_deref()?;
        let peers = index.peers_of_server(name);
        let rivals: Vec<Marks> = rivals(server).into_iter().map(|rival| rival.marks).collect();
        (!peers.is_empty() || !rivals.is_empty()).then_some(Self { peers, rivals })
    }

    /// True when the Server is held: neither wiped nor powered nor accepted by itself until a person decides. Another
    /// machine that showed its marks without a token holds nothing: it would be a way to stop machines by saying names.
    /// A serial number alone does not either: machines of one chassis share it.
    pub fn holds(&self) -> bool {
        self.peers.iter().any(|peer| match peer.mark {
            SharedMark::Uuid(_) | SharedMark::Card(_) => true,
            SharedMark::Serial(_) => peer.is_tombstone && peer.claimed,
        })
    }

    /// What is the matter and which command ends it, for the Server of that name.
    pub fn message(&self, server: &str) -> String {
        let named = self.peers.iter().take(MOST_NAMED).map(|peer| {
            let mark = peer.mark.in_words();
            let gone = if peer.is_tombstone { ", which is gone" } else { "" };
            format!("Server {}{gone} has the same {mark}", peer.server)
        });
        let shown = self.rivals.iter().take(MOST_NAMED).map(|rival| {
            let cards: Vec<&str> = rival.cards.iter().map(String::as_str).take(MOST_NAMED).collect();
            let serial = rival.serial.as_deref().unwrap_or("none");
            format!("another machine shows its marks (cards {}, serial number {serial})", cards.join(" "))
        });
        let all: Vec<String> = named.chain(shown).collect();
        let other = self
            .peers
            .first()
            .map(|peer| peer.server.as_str())
            .or_else(|| self.rivals.first().and_then(|rival| rival.cards.first()).map(String::as_str));
        let other = other.unwrap_or("OTHER");
        format!(
            "{}; if both are one machine: bloomery servers merge {other} --into {server}; if they are two: bloomery \
             servers split {server} {other}",
            all.join("; ")
        )
    }

    /// The condition.
    pub fn condition(&self, server: &str, now: &Time) -> Condition {
        let mut condition = Condition::holds(IDENTITY_CONFLICT, now.clone());
        let reason = if self.holds() { "Held" } else { "Shown" };
        reason.clone_into(&mut condition.reason);
        condition.message = self.message(server);
        condition
    }
}
