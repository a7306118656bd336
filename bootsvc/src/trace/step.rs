//! The steps of a boot.

use std::borrow::Cow;
use std::time::Instant;

use bloomery_api::decision::boot::BootAnswer;

/// How a file travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Via {
    /// TFTP, port 69.
    Tftp,
    Http,
}

/// A point in the life of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    Started,
    /// All of it sent.
    Complete,
    /// The client ended it.
    Aborted,
    /// The client ended it before the first block: it wanted the size only.
    Probed,
    /// The client went silent in the middle.
    TimedOut,
    /// The client never answered the first packet.
    NotTakenUp,
    /// The file cannot be served.
    Refused,
}

/// A file of an Environment or of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// `vmlinuz`.
    Kernel,
    /// `initramfs.xz`.
    Initramfs,
}

/// What `/ipxe` answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decided {
    Agent,
    Environment,
    Disk,
    /// Nothing of that name.
    NotFound,
    /// Assets not there yet.
    NotReady,
    Unavailable,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// DHCPDISCOVER of a client that netboots.
    Discover,
    /// Our DHCPOFFER of a file: a loader, or without a way the script.
    Offer(Option<Via>),
    /// Our DHCPACK on port 4011.
    Ack(Option<Via>),
    /// No answer of ours, for a reason.
    Silent,
    /// A loader's transfer.
    Loader(Via, Moment),
    /// `/boot.ipxe`.
    Script,
    /// `/ipxe`.
    Decision(Decided),
    /// A kernel's or initramfs's transfer.
    File(FileKind, Moment),
    /// `/configdata`, of a machine that may have its configuration: whether it was there.
    Configuration(bool),
    /// `CreateServer`.
    AgentHello,
}

/// A step with its time; the same step again right after counts up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// When, the first time.
    pub first: Instant,
    /// When, the last time.
    pub last: Instant,
    pub step: Step,
    /// File, reason or decision.
    pub detail: Cow<'static, str>,
    /// How often in a row.
    pub count: u32,
}

impl From<&BootAnswer> for Decided {
    fn from(answer: &BootAnswer) -> Self {
        match answer {
            BootAnswer::Agent { .. } => Self::Agent,
            BootAnswer::Environment { .. } => Self::Environment,
            BootAnswer::BootFromDisk { .. } => Self::Disk,
            BootAnswer::NotFound => Self::NotFound,
            BootAnswer::NotReady { .. } => Self::NotReady,
            BootAnswer::Unavailable => Self::Unavailable,
        }
    }
}

impl Decided {
    /// Its name in reports and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Environment => "environment",
            Self::Disk => "disk",
            Self::NotFound => "not-found",
            Self::NotReady => "not-ready",
            Self::Unavailable => "unavailable",
        }
    }
}

impl Via {
    /// Its name in reports and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tftp => "tftp",
            Self::Http => "http",
        }
    }
}

impl Moment {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Complete => "complete",
            Self::Aborted => "aborted",
            Self::Probed => "size-asked",
            Self::TimedOut => "timed-out",
            Self::NotTakenUp => "not-taken-up",
            Self::Refused => "refused",
        }
    }
}

impl FileKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Initramfs => "initramfs",
        }
    }
}

impl Step {
    /// Its name in reports.
    pub fn name(self) -> String {
        let way = |via: Option<Via>| via.map_or("script", Via::name);
        match self {
            Self::Discover => "discover".to_owned(),
            Self::Offer(via) => format!("offer-{}", way(via)),
            Self::Ack(via) => format!("ack-{}", way(via)),
            Self::Silent => "not-answered".to_owned(),
            Self::Loader(via, moment) => format!("loader-{}-{}", via.name(), moment.name()),
            Self::Script => "boot-script".to_owned(),
            Self::Decision(decided) => format!("decision-{}", decided.name()),
            Self::File(kind, moment) => format!("{}-{}", kind.name(), moment.name()),
            Self::Configuration(true) => "configuration-given".to_owned(),
            Self::Configuration(false) => "configuration-not-ready".to_owned(),
            Self::AgentHello => "agent-hello".to_owned(),
        }
    }
}
