//! From the wire to what the decisions know: a pure function.

use bloomery_api::siderolink::report::{Action, Event};
use prost::Message;
use prost_types::Any;

use bloomery_siderolink_api::machine;

/// What all type URLs of a node's events begin with.
const PREFIX: &str = "type.googleapis.com/machine.";

/// The event; `None` for one of another kind, or one that cannot be read.
pub(super) fn event(any: &Any) -> Option<Event> {
    let kind = any.type_url.strip_prefix(PREFIX)?;
    let event = match kind {
        "AddressEvent" => {
            let machine::AddressEvent { hostname, addresses } = read(any)?;
            Event::Address { hostname, addresses }
        }
        "ConfigLoadErrorEvent" => Event::ConfigLoadError(read::<machine::ConfigLoadErrorEvent>(any)?.error),
        "ConfigValidationErrorEvent" => {
            Event::ConfigValidationError(read::<machine::ConfigValidationErrorEvent>(any)?.error)
        }
        "PhaseEvent" => phase(read(any)?),
        "SequenceEvent" => sequence(read(any)?),
        "MachineStatusEvent" => status(read(any)?),
        _ => return None,
    };
    Some(event)
}

/// The kind, for the log.
pub(super) fn name(event: &Event) -> &'static str {
    match event {
        Event::Address { .. } => "addresses",
        Event::ConfigLoadError(_) => "configuration not loaded",
        Event::ConfigValidationError(_) => "configuration refused",
        Event::Phase { .. } => "phase",
        Event::Sequence { .. } => "sequence",
        Event::MachineStatus { .. } => "status",
    }
}

fn read<M: Message + Default>(any: &Any) -> Option<M> {
    match M::decode(any.value.as_slice()) {
        Ok(message) => Some(message),
        Err(error) => {
            tracing::warn!(kind = any.type_url, %error, "event cannot be read");
            None
        }
    }
}

fn phase(event: machine::PhaseEvent) -> Event {
    use machine::phase_event::Action as Wire;
    let action = match Wire::try_from(event.action) {
        Ok(Wire::Start) => Action::Start,
        Ok(Wire::Stop) => Action::Stop,
        Err(_) => Action::Noop,
    };
    Event::Phase { name: event.phase, action }
}

fn sequence(event: machine::SequenceEvent) -> Event {
    use machine::error::Code;
    use machine::sequence_event::Action as Wire;
    let action = match Wire::try_from(event.action) {
        Ok(Wire::Start) => Action::Start,
        Ok(Wire::Stop) => Action::Stop,
        Ok(Wire::Noop) | Err(_) => Action::Noop,
    };
    let fatal = event.error.filter(|error| error.code() == Code::Fatal).map(|error| error.message);
    Event::Sequence { name: event.sequence, action, fatal }
}

fn status(event: machine::MachineStatusEvent) -> Event {
    use machine::machine_status_event::Stage;
    let is_running = Stage::try_from(event.stage) == Ok(Stage::Running);
    Event::MachineStatus { is_running, is_ready: event.status.as_ref().is_some_and(|status| status.ready) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bloomery_siderolink_api::machine::machine_status_event::Status;

    fn any(kind: &str, message: &impl Message) -> Any {
        Any { type_url: format!("{PREFIX}{kind}"), value: message.encode_to_vec() }
    }

    #[test]
    fn events_are_read_by_their_type() {
        let error = |code, message: &str| Some(machine::Error { code, message: message.to_owned() });
        let sequence =
            |action, error| machine::SequenceEvent { sequence: "install".to_owned(), action, error };
        let read = |fatal: Option<&str>, action| Event::Sequence {
            name: "install".to_owned(),
            action,
            fatal: fatal.map(str::to_owned),
        };
        let status = |stage, ready| machine::MachineStatusEvent { stage, status: Some(Status { ready }) };
        let cases = [
            (any("SequenceEvent", &sequence(0, error(0, "x"))), Some(read(Some("x"), Action::Noop))),
            (any("SequenceEvent", &sequence(0, error(1, "x"))), Some(read(None, Action::Noop))),
            (any("SequenceEvent", &sequence(1, None)), Some(read(None, Action::Start))),
            (any("SequenceEvent", &sequence(9, None)), Some(read(None, Action::Noop))),
            (
                any("MachineStatusEvent", &status(4, true)),
                Some(Event::MachineStatus { is_running: true, is_ready: true }),
            ),
            (
                any("MachineStatusEvent", &status(5, false)),
                Some(Event::MachineStatus { is_running: false, is_ready: false }),
            ),
            (
                any("PhaseEvent", &machine::PhaseEvent { phase: "install".to_owned(), action: 0 }),
                Some(Event::Phase { name: "install".to_owned(), action: Action::Start }),
            ),
            (any("TaskEvent", &sequence(1, None)), None),
            (Any { type_url: "type.googleapis.com/other.PhaseEvent".to_owned(), value: Vec::new() }, None),
            (Any { type_url: format!("{PREFIX}PhaseEvent"), value: vec![0xff; 9] }, None),
        ];
        for (any, expected) in cases {
            assert_eq!(event(&any), expected, "{}", any.type_url);
        }
    }

    #[test]
    fn octets_of_a_real_node_are_read() {
        // hostname "n1", address "10.77.0.110", in protobuf's own octets.
        let value = b"\x0a\x02n1\x12\x0b10.77.0.110".to_vec();
        let any = Any { type_url: format!("{PREFIX}AddressEvent"), value };
        let expected =
            Event::Address { hostname: "n1".to_owned(), addresses: vec!["10.77.0.110".to_owned()] };
        assert_eq!(event(&any), Some(expected));
    }

    proptest::proptest! {
        #[test]
        fn no_octets_crash_it(value in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
            kind in "(AddressEvent|PhaseEvent|SequenceEvent|MachineStatusEvent|ConfigLoadErrorEvent)") {
            event(&Any { type_url: format!("{PREFIX}{kind}"), value });
        }
    }
}
