//! Tables and properties of the Redfish parsers.

use proptest::prelude::*;

use super::*;
use crate::bmc::PxeMode;
use crate::endpoint::Scheme;

fn at() -> Origin {
    Origin { scheme: Scheme::Https, host: "bmc".to_owned(), port: 443 }
}

const SYSTEM: &str = r##"{"UUID":"38947555-7742-3448-3784-823347823834","PowerState":"On","Name":"x","Actions":{
    "#ComputerSystem.Reset":{"target":"/redfish/v1/Systems/1/Actions/ComputerSystem.Reset",
    "ResetType@Redfish.AllowableValues":["On","ForceOff","PowerCycle",7]}}}"##;

#[test]
fn understands_a_system() {
    let system = parse_system(&at(), "/redfish/v1/Systems/1", SYSTEM.as_bytes()).unwrap();
    assert_eq!(system.power, Ok(Power::On));
    assert_eq!(system.uuid.as_deref(), Some("38947555-7742-3448-3784-823347823834"));
    assert_eq!(system.reset.choices(Action::On), [ResetType::On]);
    assert_eq!(system.reset.choices(Action::Off), [ResetType::ForceOff]);
    assert_eq!(system.reset.choices(Action::Cycle), [ResetType::PowerCycle]);
    assert_eq!(system.reset.choices(Action::PxeOnce(PxeMode::Uefi)), []);
}

#[test]
fn a_system_that_says_little_is_reset_at_the_usual_place() {
    let system =
        parse_system(&at(), "/redfish/v1/Systems/1/", br#"{"PowerState":"PoweringOff","UUID":"ABC"}"#)
            .unwrap();
    assert_eq!(system.reset.target, "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset");
    assert_eq!(system.reset.choices(Action::Cycle), [ResetType::ForceRestart, ResetType::PowerCycle]);
    assert_eq!((system.power, system.uuid.as_deref()), (Ok(Power::On), Some("ABC")));
}

#[test]
fn power_states_that_say_neither_on_nor_off_are_errors() {
    for text in [r#"{"PowerState":null}"#, "{}", r#"{"PowerState":"Unknown"}"#, r#"{"PowerState":""}"#] {
        assert!(parse_system(&at(), "/x", text.as_bytes()).unwrap().power.is_err(), "{text}");
    }
}

#[test]
fn understands_root_collection_and_action_info() {
    let root = br#"{"Systems":{"@odata.id":"/redfish/v1/Systems"},"Links":{"Sessions":{"@odata.id":"/s"}}}"#;
    let expected = ServiceRoot { systems: "/redfish/v1/Systems".to_owned(), sessions: Some("/s".to_owned()) };
    assert_eq!(parse_service_root(&at(), root).unwrap(), expected);
    let collection = br#"{"Members":[{"@odata.id":"/redfish/v1/Systems/1"}]}"#;
    let members = vec!["/redfish/v1/Systems/1".to_owned()];
    let whole = Collection { members, unusable: 0, count: None, next: None };
    assert_eq!(parse_collection(&at(), collection).unwrap(), whole);
    let info = br#"{"Parameters":[{"Name":"x"},{"Name":"ResetType","AllowableValues":["On"]}]}"#;
    assert_eq!(parse_action_info(info).unwrap(), ["On"]);
}

#[test]
fn refuses_bad_resources() {
    for text in [
        "",
        "null",
        "[]",
        "{",
        "{}",
        "\"x\"",
        "{\"Systems\":7}",
        "{\"Systems\":{}}",
        "\u{0}",
        "{\"Members\":7}",
        "{\"Parameters\":[{\"Name\":\"ResetType\"}]}",
    ] {
        assert!(parse_service_root(&at(), text.as_bytes()).is_err(), "{text}");
        assert!(parse_collection(&at(), text.as_bytes()).is_err(), "{text}");
        assert!(parse_action_info(text.as_bytes()).is_err(), "{text}");
    }
    let deep = "[".repeat(100_000);
    assert!(parse_system(&at(), "/x", deep.as_bytes()).is_err());
}

#[test]
fn a_link_never_leads_away_from_the_bmc() {
    for link in
        ["http://evil/x", "//evil/x", "evil", "", "/a b", "/a\\u0000", "/ä", &format!("/{}", "a".repeat(600))]
    {
        let root = format!(r#"{{"Systems":{{"@odata.id":"{link}"}}}}"#);
        assert_eq!(
            parse_service_root(&at(), root.as_bytes()),
            Err(ParseError::Path { property: "Systems" }),
            "{link}"
        );
        let system = format!(r##"{{"Actions":{{"#ComputerSystem.Reset":{{"target":"{link}"}}}}}}"##);
        assert!(parse_system(&at(), "/x", system.as_bytes()).is_err(), "{link}");
    }
}

#[test]
fn takes_the_words_of_an_error() {
    let body = br#"{"error":{"message":"general","@Message.ExtendedInfo":[{"Message":"no\nsuch reset"}]}}"#;
    assert_eq!(error_message(body), "nosuch reset");
    assert_eq!(error_message(br#"{"error":{"message":"general"}}"#), "general");
    assert_eq!(error_message(b"<html>"), "");
}

/// JSON of about the right shape, with anything in it.
fn some_json() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop_oneof![Just("/redfish/v1/Systems"), Just("On"), Just("ResetType")].prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("Systems"),
        Just("Links"),
        Just("Sessions"),
        Just("@odata.id"),
        Just("Members"),
        Just("UUID"),
        Just("PowerState"),
        Just("Actions"),
        Just("#ComputerSystem.Reset"),
        Just("target"),
        Just("Parameters"),
        Just("ResetType@Redfish.AllowableValues"),
        Just("@Redfish.ActionInfo"),
        Just("Name"),
        Just("error"),
    ];
    let tree = leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|pairs| pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Value>()),
        ]
    });
    tree.prop_map(|value| value.to_string().into_bytes())
}

proptest! {
    #[test]
    fn no_json_makes_a_parser_panic(bytes in prop_oneof![some_json(), proptest::collection::vec(any::<u8>(), 0..200)]) {
        let _ = parse_service_root(&at(), &bytes);
        let _ = parse_collection(&at(), &bytes);
        let _ = parse_action_info(&bytes);
        let _ = error_message(&bytes);
        if let Ok(system) = parse_system(&at(), "/redfish/v1/Systems/1", &bytes) {
            prop_assert!(system.reset.target.starts_with('/'));
            for action in [Action::On, Action::Off, Action::Cycle] {
                let _ = system.reset.choices(action);
            }
        }
    }
}
