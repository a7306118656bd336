//! What is said of a configuration on its binding, and whether the machine may be switched on with it (C4).
//!
//! Never lets a machine be switched on whose configuration was not made and found good: it would wait for it in vain, or
//! install nothing.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::condition::{self, Condition, ConditionStatus, Severity};
use crate::server_binding::{ServerBinding, TALOS_CONFIG_LOADED, TALOS_CONFIG_VALIDATED, TALOS_INSTALLED};

/// Condition of a binding: the configuration was made and a machine can use it.
pub const CONFIGURATION_READY: &str = "ConfigurationReady";
/// What a node says of its configuration.
const NODES: [&str; 2] = [TALOS_CONFIG_LOADED, TALOS_CONFIG_VALIDATED];
/// Reason of [`TALOS_CONFIG_LOADED`] where it is false.
pub const LOAD_FAILED: &str = "TalosConfigLoadFailed";
/// Reason while nobody has made one yet.
pub const NOT_RENDERED: &str = "NotRendered";
/// Reason while the network of the plane is not known.
pub const WAITING_FOR_SIDERO_LINK: &str = "WaitingForSideroLink";
/// Longest message that a condition takes, in octets.
const LONGEST_MESSAGE: usize = 10_240;

/// What is the matter with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// How bad it is.
    pub severity: Severity,
    /// Why, as one CamelCase word.
    pub reason: &'static str,
    /// Why, for a person.
    pub message: String,
}

impl Trouble {
    /// The network of the plane is not known yet.
    pub fn without_sidero_link(why: &str) -> Self {
        Self { severity: Severity::Info, reason: WAITING_FOR_SIDERO_LINK, message: why.to_owned() }
    }
}

/// The binding's conditions as they are to be; the same as they are where nothing changes.
pub fn conditions(binding: &ServerBinding, trouble: Option<&Trouble>, now: &Time) -> Vec<Condition> {
    let mut conditions = known(binding).to_vec();
    if is_of_earlier_boot(binding) {
        for type_ in NODES {
            condition::remove(&mut conditions, type_);
        }
    }
    let before = condition::find(&conditions, CONFIGURATION_READY).map(|before| before.message.clone());
    let ready = match trouble {
        None => Condition::holds(CONFIGURATION_READY, now.clone()),
        Some(Trouble { severity, reason, message }) => {
            let message = &message[..message.floor_char_boundary(LONGEST_MESSAGE)];
            Condition::fails(CONFIGURATION_READY, *severity, reason, message, now.clone())
        }
    };
    let is_loaded = condition::find(&conditions, TALOS_CONFIG_LOADED)
        .is_some_and(|loaded| loaded.status == ConditionStatus::True);
    if ready.severity == Severity::Error.as_str() && !is_loaded {
        let loaded = Condition::fails(
            TALOS_CONFIG_LOADED,
            Severity::Error,
            LOAD_FAILED,
            ready.message.clone(),
            now.clone(),
        );
        condition::set(&mut conditions, loaded);
    } else if is_said_beforehand(binding) && before.as_ref() != Some(&ready.message) {
        condition::remove(&mut conditions, TALOS_CONFIG_LOADED);
    }
    condition::set(&mut conditions, ready);
    conditions
}

/// Whether what the node said of its configuration was said in an earlier boot than the present one, of a machine that is
/// being installed: it loads its configuration anew, and says so again.
fn is_of_earlier_boot(binding: &ServerBinding) -> bool {
    let given = binding.status.as_ref().and_then(|status| status.boot.as_ref()?.given_at.as_ref());
    let find = |type_| condition::find(known(binding), type_);
    let is_installed =
        find(TALOS_INSTALLED).is_some_and(|installed| installed.status == ConditionStatus::True);
    match (given, find(TALOS_CONFIG_LOADED)) {
        (Some(given), Some(loaded)) => {
            let since = loaded.last_transition_time.0.as_second();
            !is_installed && !is_said_beforehand(binding) && since < given.0.as_second()
        }
        (Some(_) | None, None) | (None, Some(_)) => false,
    }
}

/// Whether [`TALOS_CONFIG_LOADED`] is what was said before the machine was switched on, and not what a node said.
pub fn is_said_beforehand(binding: &ServerBinding) -> bool {
    let conditions = known(binding);
    let find =
        |type_| condition::find(conditions, type_).filter(|found| found.status == ConditionStatus::False);
    match (find(TALOS_CONFIG_LOADED), find(CONFIGURATION_READY)) {
        (Some(loaded), Some(ready)) => loaded.message == ready.message,
        (Some(_) | None, None) | (None, Some(_)) => false,
    }
}

/// Whether a bound machine may be switched on, or why not. A node that has loaded a configuration goes on with it.
pub fn may_be_powered(binding: &ServerBinding) -> Result<(), Trouble> {
    let conditions = known(binding);
    let is_true =
        |type_| condition::find(conditions, type_).is_some_and(|found| found.status == ConditionStatus::True);
    if is_true(CONFIGURATION_READY) || is_true(TALOS_CONFIG_LOADED) {
        return Ok(());
    }
    let not_rendered = || Trouble {
        severity: Severity::Info,
        reason: NOT_RENDERED,
        message: "the machine configuration was not made yet".to_owned(),
    };
    let said = condition::find(conditions, CONFIGURATION_READY);
    Err(said.map_or_else(not_rendered, |said| Trouble {
        severity: [Severity::Error, Severity::Warning]
            .into_iter()
            .find(|severity| severity.as_str() == said.severity)
            .unwrap_or(Severity::Info),
        reason: NOT_RENDERED,
        message: said.message.clone(),
    }))
}

fn known(binding: &ServerBinding) -> &[Condition] {
    binding.status.as_ref().map_or(&[][..], |status| &status.conditions)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::server_binding::Boot;

    fn at(second: u8) -> Time {
        serde_json::from_value(json!(format!("2026-01-01T00:00:{second:02}Z"))).unwrap()
    }

    fn binding(conditions: Vec<Condition>) -> ServerBinding {
        let mut binding = ServerBinding::new("a", <_>::default());
        binding.status = Some(<_>::default());
        if let Some(status) = &mut binding.status {
            status.conditions = conditions;
        }
        binding
    }

    fn trouble(severity: Severity, message: &str) -> Trouble {
        Trouble { severity, reason: "PatchFailed", message: message.to_owned() }
    }

    fn shown(conditions: &[Condition]) -> Vec<String> {
        let one = |condition: &Condition| {
            let Condition { type_, status, severity, reason, .. } = condition;
            format!("{type_} {} {severity} {reason}", status.as_str()).trim().to_owned()
        };
        let mut all: Vec<String> = conditions.iter().map(one).collect();
        all.sort();
        all
    }

    #[test]
    fn a_bad_configuration_is_said_before_the_node_could_and_taken_back_when_it_is_mended() {
        let bad = trouble(Severity::Error, "m");
        let said = conditions(&binding(Vec::new()), Some(&bad), &at(1));
        assert_eq!(
            shown(&said),
            [
                "ConfigurationReady False Error PatchFailed",
                "TalosConfigLoaded False Error TalosConfigLoadFailed"
            ]
        );
        assert_eq!(conditions(&binding(said.clone()), Some(&bad), &at(2)), said, "at rest");
        let worse = conditions(&binding(said.clone()), Some(&trouble(Severity::Error, "n")), &at(2));
        assert!(worse.iter().all(|condition| condition.message == "n"), "{worse:?}");
        let waits = conditions(&binding(said.clone()), Some(&trouble(Severity::Info, "w")), &at(3));
        assert_eq!(shown(&waits), ["ConfigurationReady False Info PatchFailed"]);
        let mended = conditions(&binding(said), None, &at(3));
        assert_eq!(shown(&mended), ["ConfigurationReady True"]);
        assert_eq!(conditions(&binding(mended.clone()), None, &at(4)), mended);
    }

    #[test]
    fn what_a_node_says_is_left_alone() {
        let failed =
            Condition::fails(TALOS_CONFIG_LOADED, Severity::Error, LOAD_FAILED, "by the node", at(1));
        for node in [failed, Condition::holds(TALOS_CONFIG_LOADED, at(1))] {
            let mended = conditions(&binding(vec![node.clone()]), None, &at(2));
            assert_eq!(condition::find(&mended, TALOS_CONFIG_LOADED), Some(&node));
        }
        // One that runs with its configuration is not told of a later one that is bad.
        let loaded = Condition::holds(TALOS_CONFIG_LOADED, at(1));
        let bad = conditions(&binding(vec![loaded.clone()]), Some(&trouble(Severity::Error, "m")), &at(2));
        assert_eq!(condition::find(&bad, TALOS_CONFIG_LOADED), Some(&loaded));
    }

    #[test]
    fn what_a_node_said_in_an_earlier_boot_of_its_installation_is_not_said_of_this_one() {
        let loaded = || Condition::holds(TALOS_CONFIG_LOADED, at(10));
        let installed = || Condition::holds(TALOS_INSTALLED, at(10));
        for (conditions, given, is_kept) in [
            (vec![loaded()], 9, true),
            (vec![loaded()], 10, true),
            (vec![loaded()], 11, false),
            (vec![loaded(), installed()], 11, true),
        ] {
            let mut seen = binding(conditions);
            let boot = Boot { given_at: Some(at(given)), ..Boot::default() };
            seen.status.as_mut().unwrap().boot = Some(boot);
            let said = super::conditions(&seen, None, &at(20));
            assert_eq!(condition::find(&said, TALOS_CONFIG_LOADED).is_some(), is_kept, "{given}");
            seen.status.as_mut().unwrap().conditions.clone_from(&said);
            assert_eq!(super::conditions(&seen, None, &at(30)), said, "at rest");
        }
    }

    #[test]
    fn only_a_good_configuration_lets_a_machine_be_switched_on() {
        let ready = |trouble: Option<Trouble>| conditions(&binding(Vec::new()), trouble.as_ref(), &at(1));
        for (conditions, expected) in [
            (Vec::new(), Some((Severity::Info, "the machine configuration was not made yet"))),
            (ready(None), None),
            (ready(Some(trouble(Severity::Info, "w"))), Some((Severity::Info, "w"))),
            (ready(Some(trouble(Severity::Error, "e"))), Some((Severity::Error, "e"))),
            (vec![Condition::holds(TALOS_CONFIG_LOADED, at(1))], None),
            (
                vec![Condition::fails(TALOS_CONFIG_LOADED, Severity::Error, LOAD_FAILED, "x", at(1))],
                Some((Severity::Info, "the machine configuration was not made yet")),
            ),
        ] {
            let judged = may_be_powered(&binding(conditions.clone()));
            let judged = judged.as_ref().err().map(|trouble| (trouble.severity, trouble.message.as_str()));
            assert_eq!(judged, expected, "{conditions:?}");
        }
        assert!(may_be_powered(&ServerBinding::new("a", <_>::default())).is_err(), "no status is no leave");
    }

    #[test]
    fn a_long_message_is_cut() {
        let long = trouble(Severity::Error, &"ä".repeat(LONGEST_MESSAGE));
        let said = conditions(&binding(Vec::new()), Some(&long), &at(1));
        assert!(said.iter().all(|condition| condition.message.len() <= LONGEST_MESSAGE));
        assert_eq!(conditions(&binding(said.clone()), Some(&long), &at(2)), said, "at rest");
    }
}
