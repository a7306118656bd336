//! Which boot of a machine counts: in memory, one entry for each machine.
//!
//! The newest boot that this process heard of counts. It gave that boot its token, or another replica did, or this
//! process before it was started anew: then the agent shows the token, and its time tells. Times of tokens of one machine
//! grow, whatever the clock does. When a machine is told to boot something else, no boot counts until a later one.
//!
//! It must never hold more entries than its bound, and never let an older boot's agent act once a newer
//! boot is known. Machines that have a Server are kept apart from strangers, of which anybody can make up as many as he
//! likes: a flood of those forgets none of these. Tokens are compared without a timing channel.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::token::Token;

/// Entries of one generation of machines that have a Server. Two are kept: a plane of ten thousand machines loses none.
const GENERATION: usize = 32_768;
/// The same of strangers: a hall of new machines loses none, and a flood of made-up UUIDs costs some 2 MB.
const STRANGERS: usize = 4096;
/// An agent that called this long ago is taken for alive: it reports at least every 30 s while it works.
const ALIVE_FOR: Duration = Duration::from_secs(90);

/// Why a token is not that of the machine's present boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("the agent shows no boot token")]
    Missing,
    /// We did not make it for this machine.
    #[error("the boot token is not one of this plane for this machine")]
    Forged,
    /// The machine was given another boot since.
    #[error("the boot token is that of an earlier boot")]
    Replaced,
    /// The agent shows no card of its machine.
    #[error("the agent shows no network card that its Server has on record")]
    Card,
    /// Nobody remembers it, and it is too old (or too new) to be believed.
    #[error("the boot token is older than a day and not remembered")]
    Expired,
}

impl Problem {
    /// Whether booting the machine again would cure it.
    pub const fn is_cured_by_a_restart(self) -> bool {
        match self {
            Self::Replaced | Self::Expired => true,
            Self::Missing | Self::Forged | Self::Card => false,
        }
    }
}

/// An agent that may act for its machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub uuid: String,
    /// Its boot; none for an agent of upstream's, where those are allowed.
    pub token: Option<Token>,
}

impl Caller {
    /// The octets that name its boot in an order.
    pub fn boot(&self) -> &[u8] {
        self.token.as_ref().map_or(&[], Token::octets)
    }
}

/// Set-up of the management controller in one boot.
#[derive(Debug, Clone, Default)]
pub struct BmcSetup {
    pub calls: u32,
    pub last: Option<Instant>,
    /// Whether this boot wrote `spec.bmc`.
    pub wrote: bool,
    /// Digest of the account that was stored; with it the set-up is over.
    pub account: Option<[u8; 32]>,
}

/// What is remembered of one boot.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// The order to wipe that an agent of upstream's was given: it cannot show it.
    pub upstream_order: Vec<u8>,
    /// What the disks were doing when a heartbeat told last.
    pub disks: Option<Vec<(String, i32)>>,
    /// Set-up of the controller, once ordered.
    pub bmc: Option<BmcSetup>,
}

#[derive(Debug)]
struct Boot {
    /// None when the machine was told to boot something else.
    token: Option<Token>,
    /// A token that is not later than this is of an older boot. In Unix milliseconds.
    newest_ms: u64,
    memory: Memory,
    /// An agent of upstream's in the same boot: it was given a token that it does not show.
    tokenless: Memory,
    /// When the agent with the token called last, and from where.
    called: Option<(Instant, IpAddr)>,
}

impl Boot {
    fn new(token: Option<Token>, newest_ms: u64) -> Self {
        Self { token, newest_ms, memory: Memory::default(), tokenless: Memory::default(), called: None }
    }
}

#[derive(Debug)]
pub struct Boots {
    /// Of machines that have a Server.
    known: Generations,
    /// Of all others.
    strangers: Generations,
}

impl Default for Boots {
    fn default() -> Self {
        Self { known: Generations::new(GENERATION), strangers: Generations::new(STRANGERS) }
    }
}

impl Boots {
    /// The machine was given the agent and this token: only they count from now on.
    pub fn give(&mut self, uuid: &str, token: Token) {
        self.begin(uuid, Some(token));
    }

    /// The time of the machine's next token: now, or later where that is needed to make it the newest.
    pub fn next_ms(&mut self, uuid: &str, now_ms: u64) -> u64 {
        self.get_mut(uuid).map_or(now_ms, |boot| now_ms.max(boot.newest_ms.saturating_add(1)))
    }

    /// The machine has a Server: its boot is kept apart from those of strangers from now on.
    pub fn keep(&mut self, uuid: &str) {
        if let Some(boot) = self.strangers.remove(uuid) {
            self.known.insert(uuid.to_owned(), boot);
        }
    }

    /// The machine was told to boot something else: no agent of it may act any more.
    pub fn end(&mut self, uuid: &str, now_ms: u64) {
        if let Some(boot) = self.get_mut(uuid) {
            *boot = Boot::new(None, now_ms.max(boot.newest_ms));
        }
    }

    /// The agent of this caller called from `address`.
    pub fn called(&mut self, caller: &Caller, address: IpAddr, now: Instant) {
        if let Some(boot) = self.get_mut(&caller.uuid)
            && caller.token.is_some()
            && boot.token == caller.token
        {
            boot.called = Some((now, address));
        }
    }

    /// Whether the machine's present agent is alive at another address than this one.
    pub fn is_alive_elsewhere(&mut self, uuid: &str, address: IpAddr, now: Instant) -> bool {
        let called = self.get_mut(uuid).and_then(|boot| boot.called);
        called.is_some_and(|(when, from)| from != address && now.saturating_duration_since(when) < ALIVE_FOR)
    }

    /// True when `token` is the one that was given or seen last.
    pub fn is_current(&mut self, uuid: &str, token: &Token) -> bool {
        self.get_mut(uuid).is_some_and(|boot| boot.token.as_ref() == Some(token))
    }

    /// Takes a token that we signed for this machine but that is not the current one.
    pub fn admit(&mut self, uuid: &str, token: Token, now_ms: u64) -> Result<(), Problem> {
        if let Some(boot) = self.get_mut(uuid) {
            if boot.token.as_ref() == Some(&token) {
                return Ok(());
            }
            if token.time_ms() <= boot.newest_ms {
                return Err(Problem::Replaced);
            }
        }
        if !token.is_recent(now_ms) {
            return Err(Problem::Expired);
        }
        self.begin(uuid, Some(token));
        Ok(())
    }

    /// What is remembered for this caller; `None` when its boot is over.
    pub fn memory(&mut self, caller: &Caller) -> Option<&mut Memory> {
        let Some(token) = &caller.token else {
            if self.get_mut(&caller.uuid).is_none() {
                self.begin(&caller.uuid, None);
            }
            return self.get_mut(&caller.uuid).map(|boot| &mut boot.tokenless);
        };
        let boot = self.get_mut(&caller.uuid)?;
        (boot.token.as_ref() == Some(token)).then_some(&mut boot.memory)
    }

    fn begin(&mut self, uuid: &str, token: Option<Token>) {
        let boot = Boot::new(token, token.map_or(0, |token| token.time_ms()));
        if self.known.get_mut(uuid).is_some() {
            self.known.insert(uuid.to_owned(), boot);
        } else {
            self.strangers.insert(uuid.to_owned(), boot);
        }
    }

    fn get_mut(&mut self, uuid: &str) -> Option<&mut Boot> {
        if self.known.get_mut(uuid).is_some() {
            return self.known.get_mut(uuid);
        }
        self.strangers.get_mut(uuid)
    }
}

/// Boots by the UUIDs of their machines. What was not used while a whole generation of others came is forgotten.
#[derive(Debug)]
struct Generations {
    young: HashMap<String, Boot>,
    old: HashMap<String, Boot>,
    bound: usize,
}

impl Generations {
    fn new(bound: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), bound }
    }

    fn insert(&mut self, uuid: String, boot: Boot) {
        self.old.remove(&uuid);
        if self.young.len() >= self.bound && !self.young.contains_key(&uuid) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(uuid, boot);
    }

    fn remove(&mut self, uuid: &str) -> Option<Boot> {
        self.young.remove(uuid).or_else(|| self.old.remove(uuid))
    }

    fn get_mut(&mut self, uuid: &str) -> Option<&mut Boot> {
        if let Some((uuid, boot)) = self.old.remove_entry(uuid) {
            self.insert(uuid, boot);
        }
        self.young.get_mut(uuid)
    }
}

#[cfg(test)]
mod tests;
