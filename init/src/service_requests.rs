//! What administrators ask of the services: commands and logs. The appliance server passes the questions on, and
//! `bloomery_pairing::authority` has checked the rights of the caller before a command arrives here.

use crate::pki::people::AUDIT_LOG;
use crate::status::ServiceState;
use crate::supervise::log_reader::{self, Cursor, From};
use crate::supervise::service::Hold;
use crate::supervise::{Command, CommandError, Supervisor};
use bloomery_base::chain;
use bloomery_pairing::authority::{Log, Refusal, Services};
use bloomery_pairing::local::Refused;
use bloomery_pairing::wire::{LogPiece, ServiceCommand};
use std::path::PathBuf;
use std::sync::Arc;

/// Directory of the machines' logs, which SideroLink's service writes.
const MACHINES: &str = "machines";
/// Octets of a machine's name.
const LONGEST_NAME: usize = 64;

/// The services and their logs.
#[derive(Debug)]
pub struct ServiceRequests {
    supervisor: Arc<Supervisor>,
    logs: PathBuf,
}

impl ServiceRequests {
    /// `logs` is the directory of the log files.
    pub fn new(supervisor: Arc<Supervisor>, logs: PathBuf) -> Self {
        Self { supervisor, logs }
    }
}

impl Services for ServiceRequests {
    async fn tell(&self, service: &str, command: ServiceCommand) -> Result<String, Refusal> {
        if command == ServiceCommand::Hold
            && let Some(Hold::Refused(reason)) = self.supervisor.holdable(service)
        {
            return Err(Refusal::new(Refused::Conflict, format!("{service} cannot be held: {reason}")));
        }
        let command = match command {
            ServiceCommand::Hold => Command::Hold,
            ServiceCommand::Start => Command::Start,
            ServiceCommand::Restart => Command::Restart,
        };
        match self.supervisor.tell(service, command).await {
            Ok(snapshot) => Ok(word(snapshot.state)),
            Err(error) => Err(refusal(&error)),
        }
    }

    async fn log(&self, log: Log<'_>, lines: u32, after: Option<&str>) -> Result<LogPiece, Refusal> {
        // The name becomes part of a path: of services, only those that PID 1 gave itself.
        let (logs, service) = match log {
            Log::Service(name) if name == AUDIT_LOG || self.supervisor.holdable(name).is_some() => {
                (self.logs.clone(), name)
            }
            Log::Service(name) => return Err(unknown(name)),
            Log::Machine(name) if is_machine(name) => (self.logs.join(MACHINES), name),
            Log::Machine(name) => return Err(no_machine(name)),
        };
        let bad = |error: log_reader::NotACursor| Refusal::new(Refused::BadRequest, error.to_string());
        let from = match after {
            Some(cursor) => From::After(cursor.parse::<Cursor>().map_err(bad)?),
            None => From::Last(usize::try_from(lines).unwrap_or(usize::MAX)),
        };
        let name = service.to_owned();
        // A disk that does not answer must not hold PID 1 up.
        let read = tokio::task::spawn_blocking(move || log_reader::read(&logs, &name, from)).await;
        match read {
            Ok(Ok(log_reader::Piece { text, next, more, skipped })) => {
                let text = String::from_utf8_lossy(&text).into_owned();
                Ok(LogPiece { text, next: next.to_string(), more, skipped })
            }
            Ok(Err(error)) => Err(unreadable(service, &error)),
            Err(error) => Err(unreadable(service, &error)),
        }
    }
}

fn refusal(error: &CommandError) -> Refusal {
    match error {
        CommandError::Unknown(service) => unknown(service),
        CommandError::Held(service) => Refusal::new(
            Refused::Conflict,
            format!("{service} is held; `bloomery service start {service}` ends that"),
        ),
        CommandError::Stopping(_) | CommandError::StillRunning(_) => {
            Refusal::new(Refused::NotReady, error.to_string())
        }
    }
}

/// Whether a Server, and the file of its log, can have this name.
fn is_machine(name: &str) -> bool {
    let is_plain = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-';
    !name.is_empty() && name.len() <= LONGEST_NAME && name.bytes().all(is_plain)
}

fn no_machine(name: &str) -> Refusal {
    let message =
        format!("no machine has the name {name:?}; `kubectl get servers` shows those that there are");
    Refusal::new(Refused::NotFound, message)
}

fn unknown(service: &str) -> Refusal {
    let message =
        format!("there is no service {service:?}; `bloomery service list` shows those that there are");
    Refusal::new(Refused::NotFound, message)
}

fn unreadable(service: &str, error: &(dyn std::error::Error + 'static)) -> Refusal {
    Refusal::new(Refused::NotReady, format!("failed to read the log of {service}: {}", chain(error)))
}

/// The state as the status shows it.
fn word(state: ServiceState) -> String {
    serde_json::to_value(state).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}
