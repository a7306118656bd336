//! What is declared about one service. Data only; what is done with it is in `process.rs`.

use super::limits::{Limits, MemoryLimit};
use super::probe::Probe;
use super::state::{Kind, Policy};
use crate::accounts::User;
use bloomery_sys::process::{Capabilities, Identity, Output, Privileges, Spec};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// After this a starting service counts as hung. A first start under emulation takes minutes.
const START_TIMEOUT: Duration = Duration::from_mins(5);
/// After this a service that was ready and does not answer counts as hung.
const HANG_TIMEOUT: Duration = Duration::from_mins(2);
/// Between probes of a service that is ready.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
/// A loaded kube-apiserver under emulation answers `/readyz` within seconds.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// etcd writes its log, the apiserver ends its watches: seconds, even under emulation.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Of a service that declares none: a tenth of the machine.
const LIMITS: Limits = Limits::new(MemoryLimit { percent: 10, floor_mib: 128 }, 500);

/// Whether an administrator may hold a service. Every service may be restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// The plane goes on with less.
    Allowed,
    /// The reason, to be read after "NAME cannot be held: ".
    Refused(&'static str),
}

/// A file that a service reads at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub path: PathBuf,
    pub text: String,
}

/// One service, as DESIGN.md §1 declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name: of its log, its run-time directory, its control group.
    pub name: &'static str,
    pub program: PathBuf,
    /// Written before each start, for its user alone.
    pub file: Option<File>,
    /// Arguments without the program's name.
    pub args: Vec<String>,
    pub env: BTreeMap<&'static str, String>,
    /// None: the user of PID 1 (tests, user namespaces with one user).
    pub user: Option<User>,
    /// What it may do beyond its user's rights.
    pub capabilities: Capabilities,
    /// Descriptors, memory, and its turn when memory runs out.
    pub limits: Limits,
    /// What has to be ready before it starts.
    pub after: &'static [&'static str],
    /// Entries of [`Self::after`] that need not be ready: the program waits for them by itself.
    pub waits_itself_for: &'static [&'static str],
    /// How it shows that it is ready.
    pub probe: Probe,
    /// Between probes while it is ready.
    pub probe_interval: Duration,
    /// Beyond this an answer counts as none.
    pub probe_timeout: Duration,
    /// Daemon or one-shot, and its times.
    pub policy: Policy,
    /// Whether an administrator may hold it.
    pub hold: Hold,
    /// Raised to have it started again although nothing else has changed (new certificates).
    pub generation: u64,
}

impl Service {
    /// A daemon without dependencies and rights, which is ready when its port answers.
    pub fn daemon(name: &'static str, program: PathBuf, probe: Probe) -> Self {
        Self {
            name,
            program,
            file: None,
            args: Vec::new(),
            env: BTreeMap::new(),
            user: None,
            capabilities: Capabilities::empty(),
            limits: LIMITS,
            after: &[],
            waits_itself_for: &[],
            probe,
            probe_interval: PROBE_INTERVAL,
            probe_timeout: PROBE_TIMEOUT,
            policy: Policy {
                kind: Kind::Daemon,
                start_timeout: START_TIMEOUT,
                hang_timeout: HANG_TIMEOUT,
                stop_grace: STOP_GRACE,
            },
            hold: Hold::Allowed,
            generation: 0,
        }
    }

    /// A program that is to end well once.
    pub fn one_shot(name: &'static str, program: PathBuf) -> Self {
        let mut service = Self::daemon(name, program, Probe::Exit);
        service.policy.kind = Kind::OneShot;
        service
    }

    /// How the child is started. `data_segment` limits its memory where its group does not.
    pub fn spec(&self, cgroup: Option<PathBuf>, data_segment: Option<u64>) -> Spec {
        let mut spec = Spec::new(self.program.as_os_str()).args(self.args.iter());
        for (name, value) in &self.env {
            spec = spec.env(*name, value);
        }
        if let Some(user) = self.user {
            spec.identity = Identity::User { uid: user.uid, gid: user.uid, groups: Vec::new() };
            spec.privileges = Privileges::Only(self.capabilities);
        }
        spec.no_new_privs = true;
        spec.new_session = true;
        spec.cgroup = cgroup;
        spec.nofile = Some(self.limits.open_files);
        spec.oom_score_adj = Some(self.limits.oom_score_adj);
        spec.data_segment = data_segment;
        spec.output = Output::Pipe;
        spec
    }
}
