//! `/ipxe` with all combinations of known and own UUIDs, cards and serial numbers.

use super::{Stage, Victim, wire::Way};
use crate::simulate::{
    inventory::Identity,
    script::{self, Order as Boot},
};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;
use uuid::Uuid;

/// Askers at once.
const ASKERS: usize = 4;
/// The pause of each between two questions.
const EVERY: Duration = Duration::from_millis(25);
/// A serial number that no machine has.
const OWN_SERIAL: &str = "IMPOSTOR-1";

/// What is said of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    uuid: Option<String>,
    mac: Option<String>,
    serial: Option<String>,
    /// Whether it is a machine that nobody knows, but for a serial number, which machines of one chassis share: a token
    /// of that boot is its own.
    is_nobody: bool,
}

impl Said {
    fn path(&self) -> String {
        let Self { uuid, mac, serial, is_nobody: _ } = self;
        let pairs = [("uuid", uuid), ("mac", mac), ("serial", serial)];
        let said: Vec<String> = pairs
            .into_iter()
            .filter_map(|(key, value)| value.as_ref().map(|value| format!("{key}={value}")))
            .collect();
        format!("/ipxe?{}&arch=x86_64&platform=efi", said.join("&"))
    }
}

/// Starts the askers.
pub(super) fn spawn(stage: &Arc<Stage>, tasks: &mut JoinSet<()>) {
    let questions = Arc::new(questions(&stage.order.victims, &stage.order.mac));
    let ways = Arc::new(stage.ways());
    for asker in 0..ASKERS {
        let (stage, questions, ways) = (Arc::clone(stage), Arc::clone(&questions), Arc::clone(&ways));
        tasks.spawn(async move {
            let all = questions.len() * ways.len();
            // Each begins elsewhere, and goes through all.
            let first = all * asker / ASKERS;
            stage
                .repeat(EVERY, |round| {
                    let at = (usize::try_from(round).unwrap_or_default() + first) % all;
                    ask(&stage, &questions[at % questions.len()], ways[at / questions.len()])
                })
                .await;
        });
    }
}

/// Each combination in which at least one mark is a known machine's.
fn questions(victims: &[Victim], own_mac: &str) -> Vec<Said> {
    let identities: Vec<Identity> = victims.iter().map(|victim| victim.identity()).collect();
    let made_up = Uuid::from_u128(0x1357_0000_0000_4000_8000_0000_0bad_0001).to_string();
    let mut all = Vec::new();
    for (at, its) in identities.iter().enumerate() {
        let other = &identities[(at + 1) % identities.len()];
        let uuids = [Some(its.uuid.to_string()), None, Some(made_up.clone()), Some(other.uuid.to_string())];
        let macs = [
            Some(its.mac_text('-')),
            Some(own_mac.replace(':', "-")),
            None,
            Some("02-00-00-0b-ad-01".to_owned()),
        ];
        let serials = [Some(its.serial()), Some(OWN_SERIAL.to_owned()), None];
        for (u, uuid) in uuids.iter().enumerate() {
            for (m, mac) in macs.iter().enumerate() {
                for (s, serial) in serials.iter().enumerate() {
                    // What remains is a machine that nobody knows, and has its own rights.
                    if u == 0 || u == 3 || m == 0 || s == 0 {
                        all.push(Said {
                            uuid: uuid.clone(),
                            mac: mac.clone(),
                            serial: serial.clone(),
                            is_nobody: u == 2 && m != 0,
                        });
                    }
                }
            }
        }
    }
    all
}

async fn ask(stage: &Stage, said: &Said, way: Way) {
    let path = said.path();
    let answer = way.get(&path).await;
    let kind = match &answer {
        Err(_) => "nothing".to_owned(),
        Ok((status, body)) => {
            if let Some(gain) = gain(&stage.order.secret, said, body) {
                stage.gain(format!("{gain} for {path} over {} ({status})", way.family()));
            }
            match script::order(body) {
                Ok(Boot::Disk) => "disk".to_owned(),
                Ok(Boot::Kernel(_)) => "agent without token".to_owned(),
                Ok(Boot::Wait(_)) => "wait".to_owned(),
                Err(_) => format!("status {status}"),
            }
        }
    };
    stage.count(format!("ipxe {}: {kind}", way.family()), 1);
}

/// What a script gives that only the machine itself may have.
fn gain(secret: &str, said: &Said, script: &str) -> Option<&'static str> {
    if script.contains(secret) {
        return Some("a configuration");
    }
    match script::order(script) {
        Ok(Boot::Kernel(kernel)) => match kernel.agent {
            Some(agent) => agent.token.filter(|_| !said.is_nobody).map(|_| "a boot token"),
            None => Some("an Environment"),
        },
        Ok(Boot::Disk | Boot::Wait(_)) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::config::Firmware;

    #[test]
    fn every_question_shows_a_mark_of_a_known_machine() {
        let victims = [0, 1].map(|index| Victim { index, firmware: Firmware::Bios });
        let all = questions(&victims, "02:00:00:00:00:01");
        assert_eq!(all.len(), 2 * (2 * 12 + 2 * (3 + 3)));
        let marks: Vec<String> = victims
            .iter()
            .map(|victim| victim.identity())
            .flat_map(|its| [its.uuid.to_string(), its.mac_text('-'), its.serial()])
            .collect();
        for said in all {
            let path = said.path();
            assert!(marks.iter().any(|mark| path.contains(mark.as_str())), "{path}");
        }
    }

    #[test]
    fn tokens_environments_and_configurations_are_gains() {
        let known = Said { uuid: None, mac: None, serial: None, is_nobody: false };
        let nobody = Said { is_nobody: true, ..known.clone() };
        let agent = |token: &str| {
            format!("#!ipxe\nkernel /env/agent-amd64/vmlinuz sidero.endpoint=10.77.0.3:8081{token}\nboot\n")
        };
        assert_eq!(gain("s3cret", &known, &agent(" bloomery.token=x")), Some("a boot token"));
        assert_eq!(gain("s3cret", &nobody, &agent(" bloomery.token=x")), None);
        assert_eq!(gain("s3cret", &nobody, "#!ipxe\nkernel /env/e/vmlinuz\nboot\n"), Some("an Environment"));
        assert_eq!(gain("s3cret", &known, &agent("")), None);
        assert_eq!(
            gain("s3cret", &known, "#!ipxe\nkernel /env/e/vmlinuz a=s3cret\nboot\n"),
            Some("a configuration")
        );
        assert_eq!(gain("s3cret", &known, "#!ipxe\nkernel /env/e/vmlinuz\nboot\n"), Some("an Environment"));
        for script in ["", "#!ipxe\nexit\n", "environment \"e\" is not ready"] {
            assert_eq!(gain("s3cret", &known, script), None, "{script:?}");
        }
    }
}
