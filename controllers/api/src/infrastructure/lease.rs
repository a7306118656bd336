//! Of several programs one looks for a Server for a MetalMachine: the one that wrote its name on it last.
//!
//! The name is written on the version of the object that was read, so that one of two who write at once is refused. It
//! counts for a while only: its program may have died.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::metal_machine::MetalMachine;

/// Annotation of a MetalMachine: the program that looks for a Server, and since when.
pub const ALLOCATING_ANNOTATION: &str = "bloomery.dev/allocating";
/// How long a name counts: some requests to the API server and back.
const LASTS: SignedDuration = SignedDuration::from_secs(15);

/// The annotation's value.
pub fn lease(program: &str, now: &Time) -> String {
    format!("{program} {}", now.0)
}

/// Whether another program looks for a Server right now. A time to come counts as none: its clock is wrong.
pub fn is_held_by_another(machine: &MetalMachine, program: &str, now: &Time) -> bool {
    let annotations = machine.metadata.annotations.as_ref();
    let Some((holder, since)) =
        annotations.and_then(|all| all.get(ALLOCATING_ANNOTATION)).and_then(|text| text.split_once(' '))
    else {
        return false;
    };
    let Ok(since) = since.parse::<Timestamp>() else { return false };
    let age = now.0.duration_since(since);
    holder != program && age < LASTS && age > -LASTS
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::metal_machine::MetalMachineSpec;

    fn at(second: u8) -> Time {
        serde_json::from_value(json!(format!("2026-01-01T00:00:{second:02}Z"))).unwrap()
    }

    #[test]
    fn a_name_counts_for_others_and_for_a_while() {
        let holds = |text: &str, program, second| {
            let mut machine = MetalMachine::new("m", MetalMachineSpec::default());
            machine.metadata.annotations = Some([(ALLOCATING_ANNOTATION.to_owned(), text.to_owned())].into());
            is_held_by_another(&machine, program, &at(second))
        };
        let written = lease("a", &at(10));
        for (program, second, expected) in
            [("a", 10, false), ("b", 10, true), ("b", 24, true), ("b", 25, false), ("b", 5, true)]
        {
            assert_eq!(holds(&written, program, second), expected, "{program} {second}");
        }
        for text in ["", "a", "a b", "a 2036-01-01T00:00:00Z"] {
            assert!(!holds(text, "b", 10), "{text:?}");
        }
        assert!(!is_held_by_another(&MetalMachine::new("m", MetalMachineSpec::default()), "b", &at(1)));
    }
}
