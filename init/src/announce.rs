//! The two lines on the console that an administrator needs: the address of the API and the pairing code.
//!
//! `API: https://ADDRESS:6443` and `Pairing code: XXXXX-…` are a contract with the lab. PID 1 shows them when the API is
//! ready, and again when the address or the code changes. Before the boot services answer, a box says what they do to
//! the network.

use crate::context::Context;
use crate::disk_state::State;
use crate::layout::KUBERNETES_API_PORT;
use crate::supervise::{Snapshot, Snapshots};
use bloomery_base::chain;
use bloomery_config::{Config, Role, UnknownMachines};
use bloomery_pairing::{Code, Fingerprint};
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::watch;

/// PID 1 replaces the file when a code is re-issued; the console may follow a moment later.
const LOOK: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    host: String,
    code: String,
}

/// What the lines are made of, apart from what changes.
#[derive(Debug)]
pub struct Announcement {
    pub context: Context,
    pub state: State,
    pub endpoint: Option<String>,
    /// Of the appliance's key.
    pub fingerprint: Fingerprint,
}

/// Shows what there is to show, for ever.
pub async fn keep_shown(
    announcement: Announcement,
    mut snapshots: watch::Receiver<Snapshots>,
    mut addresses: watch::Receiver<Vec<IpAddr>>,
) {
    if snapshots.wait_for(api_is_ready).await.is_err() {
        return;
    }
    let mut shown = None;
    loop {
        let host = host(announcement.endpoint.as_deref(), &addresses.borrow_and_update());
        match (host, code(&announcement)) {
            (Some(host), Some(code)) => {
                let now = Shown { host, code };
                if shown.as_ref() != Some(&now) {
                    show(&announcement, &now);
                    shown = Some(now);
                }
            }
            (None, _) => announcement.context.status.update(|status| status.api_url = None),
            (Some(_), None) => {}
        }
        let change = async {
            if addresses.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        // Either is a reason to look again.
        let _ = tokio::time::timeout(LOOK, change).await;
    }
}

fn api_is_ready(all: &Snapshots) -> bool {
    all.get("kube-apiserver").is_some_and(Snapshot::is_ready)
}

/// The host in URLs: as configured, or the first address.
fn host(endpoint: Option<&str>, addresses: &[IpAddr]) -> Option<String> {
    let host = endpoint.map(str::to_owned).or_else(|| addresses.first().map(ToString::to_string))?;
    Some(if host.contains(':') { format!("[{host}]") } else { host })
}

fn code(Announcement { context, fingerprint, .. }: &Announcement) -> Option<String> {
    match bloomery_pairing::load(&context.layout.pairing_secret()) {
        Ok(secret) => {
            context.clear_warning("pairing", "the pairing code can be read again");
            Some(Code::new(secret, *fingerprint).to_string())
        }
        Err(error) => {
            context.warn(
                "pairing",
                &chain(&error),
                "remove the file and restart; a new pairing code is made",
            );
            None
        }
    }
}

fn show(Announcement { context, state, .. }: &Announcement, now: &Shown) {
    let url = format!("https://{}:{KUBERNETES_API_PORT}", now.host);
    context.status.update(|status| status.api_url = Some(url.clone()));
    for line in banner(&url, now, *state) {
        context.console.line(line);
    }
}

fn banner(url: &str, now: &Shown, state: State) -> Vec<String> {
    let mut lines = vec![
        String::new(),
        format!("API: {url}"),
        format!("Pairing code: {}", now.code),
        String::new(),
        "To administer this plane, run on your workstation, and type the code when asked:".to_owned(),
        format!("  bloomery kubeconfig --endpoint {} --code - > kubeconfig", now.host),
        "  KUBECONFIG=kubeconfig kubectl get servers".to_owned(),
        "Then power on machines that boot from the network; they show up there.".to_owned(),
        String::new(),
    ];
    if state == State::Volatile {
        lines.push("The state is in memory: all data WILL BE LOST at the next restart. Write the image to a disk of 2 GB or more.".to_owned());
    }
    lines
}

/// Columns of the box: those of a text console, one left free.
const WIDTH: usize = 79;

/// What plugging the appliance in does, in a box.
pub fn effect(config: &Config) -> Vec<String> {
    let strangers = match config.unknown_machines {
        UnknownMachines::Agent => {
            "A machine that it does not know gets the agent once, which reads its parts and disks and writes nothing. If \
             the disks are not blank, the machine goes on to its disk from the next boot on, until a person accepts it."
        }
        UnknownMachines::BootDisk => "A machine that it does not know is sent on to its disk.",
        UnknownMachines::Ignore => "A machine that it does not know gets no answer.",
    };
    let named: Vec<&str> = config.network.with_role(Role::Provisioning).collect();
    let interfaces = if named.is_empty() { "all physical interfaces".to_owned() } else { named.join(", ") };
    let text = [
        format!("Bloomery now answers every machine that boots from the network on {interfaces}."),
        strangers.to_owned(),
        format!(
            "bloomery.yaml changes that: unknownMachines (now: {}), machines.allow, machines.deny and \
             network.interfaces.",
            config.unknown_machines.as_str()
        ),
    ];
    let rule = format!("+{}+", "-".repeat(WIDTH - 2));
    let lines = text.iter().flat_map(|paragraph| wrap(paragraph, WIDTH - 4));
    let boxed = lines.map(|line| format!("| {line:<0$} |", WIDTH - 4));
    std::iter::once(rule.clone()).chain(boxed).chain([rule]).collect()
}

/// Lines of at most `width` characters; a longer word has a line of its own.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_says_what_plugging_it_in_does() {
        insta::assert_snapshot!(effect(&Config::default()).join("\n"));
        for (unknown, says) in [
            (UnknownMachines::BootDisk, "is sent on to its disk"),
            (UnknownMachines::Ignore, "gets no answer"),
        ] {
            let text = effect(&Config { unknown_machines: unknown, ..Config::default() }).join("\n");
            assert!(text.contains(says), "{text}");
        }
    }

    #[test]
    fn the_box_names_the_interfaces_and_keeps_its_form() {
        let mut config = Config::default();
        let entry = |name: &str, role| bloomery_config::InterfaceRole { name: name.to_owned(), role };
        config.network.interfaces = vec![entry("eth0", Role::Management), entry("eth1", Role::Provisioning)];
        let lines = effect(&config);
        assert!(lines.iter().all(|line| line.len() == WIDTH), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("on eth1.")), "{lines:?}");
    }

    #[test]
    fn shows_the_contracts_lines_and_what_to_do() {
        let now = Shown { host: "192.0.2.7".into(), code: "ABCDE-FGHJK".into() };
        insta::assert_snapshot!(banner("https://192.0.2.7:6443", &now, State::Volatile).join("\n"));
    }

    #[test]
    fn prefers_the_advertised_endpoint_and_brackets_ipv6() {
        let addresses = ["192.0.2.7".parse().unwrap()];
        assert_eq!(host(None, &addresses).as_deref(), Some("192.0.2.7"));
        assert_eq!(host(Some("plane.example.org"), &addresses).as_deref(), Some("plane.example.org"));
        assert_eq!(host(None, &["2001:db8::7".parse().unwrap()]).as_deref(), Some("[2001:db8::7]"));
        assert_eq!(host(None, &[]), None);
    }
}
