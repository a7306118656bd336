//! Against BMCs of several makes, as tables of what they answer.

use std::collections::BTreeMap;

use super::*;

/// What becomes of the request to enable a user.
#[derive(Debug, Default, PartialEq)]
pub(crate) enum Enable {
    #[default]
    Works,
    /// It is refused, and the user is enabled all the same.
    Needless,
    /// It is refused, and the user stays disabled.
    Refused,
}

/// A BMC with LAN channels, users, and habits.
#[derive(Debug, Default)]
pub(crate) struct Bmc {
    pub(crate) channels: BTreeMap<u8, u8>,
    pub(crate) addresses: BTreeMap<u8, [u8; 4]>,
    pub(crate) ports: BTreeMap<u8, u16>,
    pub(crate) users: BTreeMap<u8, &'static str>,
    pub(crate) refuses_free_slots: bool,
    pub(crate) dead: bool,
    pub(crate) enable: Enable,
    pub(crate) limit: u8,
    /// Slots whose name cannot be set.
    pub(crate) locked: Vec<u8>,
    /// What a password must have.
    pub(crate) policy: Option<fn(&str) -> bool>,
    pub(crate) changes: Vec<(&'static str, Vec<u8>)>,
}

fn completion<T>(request: &'static str, code: u8) -> Result<T, Error> {
    Err(Error::Completion { request, code })
}

impl Ask for Bmc {
    fn ask(&mut self, request: &Request) -> Result<Vec<u8>, Error> {
        let (name, data) = (request.name, request.data.as_slice());
        if self.dead {
            let source = bloomery_sys::ipmi::Error::Silent { limit: std::time::Duration::ZERO };
            return Err(Error::Ask { request: name, source });
        }
        match (name, data) {
            ("Get Channel Info", [channel]) => match self.channels.get(channel) {
                Some(medium) => Ok(vec![*channel, *medium, 1, 0, 0xf2, 0x1b, 0, 0, 0]),
                None => completion(name, 0xcc),
            },
            ("Get LAN Configuration (address)", [channel, ..]) => match self.addresses.get(channel) {
                Some(address) => Ok([&[0x11], &address[..]].concat()),
                None => completion(name, 0xcc),
            },
            ("Get LAN Configuration (port)", [channel, ..]) => match self.ports.get(channel) {
                Some(port) => Ok([&[0x11], &port.to_le_bytes()[..]].concat()),
                None => completion(name, 0x80),
            },
            ("Get User Access", _) => {
                let state = if self.enable == Enable::Refused { 0x80 } else { 0x40 };
                Ok(vec![0xc0 | self.limit, state | 1, 1, 4])
            }
            ("Set User Name", [user, ..]) if self.locked.contains(user) => completion(name, 0xcc),
            ("Set User Password", [_, _, password @ ..])
                if self.policy.is_some_and(|policy| !policy(std::str::from_utf8(password).unwrap())) =>
            {
                completion(name, 0xcc)
            }
            ("Set User Password (enable)", _) if self.enable != Enable::Works => completion(name, 0xc1),
            ("Get User Name", [user]) => match self.users.get(user) {
                Some(name) => Ok(name.bytes().chain([0; 16]).take(16).collect()),
                None if self.refuses_free_slots => completion(name, 0xcc),
                None => Ok(vec![0; 16]),
            },
            _ => {
                self.changes.push((name, data.to_vec()));
                Ok(Vec::new())
            }
        }
    }
}

pub(crate) fn supermicro() -> Bmc {
    Bmc {
        channels: BTreeMap::from([(1, 4), (6, 1), (0x0f, 0x0c)]),
        addresses: BTreeMap::from([(1, [10, 77, 0, 11])]),
        users: BTreeMap::from([(2, "ADMIN")]),
        limit: 10,
        ..Bmc::default()
    }
}

#[test]
fn a_bmc_that_does_not_know_its_port_has_the_usual_one() {
    let lan = find_lan(&mut supermicro()).unwrap();
    assert_eq!(lan, Lan { channel: 1, address: Ipv4Addr::new(10, 77, 0, 11), port: 623 });
    let mut other = Bmc { ports: BTreeMap::from([(1, 6230)]), ..supermicro() };
    assert_eq!(find_lan(&mut other).unwrap().port, 6230);
}

#[test]
fn the_lan_is_found_on_whichever_channel_has_an_address() {
    let mut hpe = Bmc {
        channels: BTreeMap::from([(1, 4), (2, 4), (8, 4)]),
        addresses: BTreeMap::from([(1, [0; 4]), (8, [192, 0, 2, 7])]),
        ..supermicro()
    };
    assert_eq!(find_lan(&mut hpe).unwrap().channel, 8);
    let mut none = Bmc { addresses: BTreeMap::from([(1, [0; 4])]), ..supermicro() };
    assert!(matches!(find_lan(&mut none), Err(Error::NoAddress)));
}

#[test]
fn a_bmc_that_describes_no_channels_is_asked_about_the_first() {
    let mut old = Bmc { channels: BTreeMap::new(), ..supermicro() };
    assert_eq!(find_lan(&mut old).unwrap().channel, 1);
}

#[test]
fn the_user_goes_to_the_first_free_slot_and_leaves_others_alone() {
    for refuses_free_slots in [false, true] {
        let mut bmc =
            Bmc { refuses_free_slots, users: BTreeMap::from([(2, "ADMIN"), (4, "ops")]), ..supermicro() };
        let password = set_up_user(&mut bmc, 1).unwrap();
        let names: Vec<&str> = bmc.changes.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names,
            ["Set User Name", "Set User Password", "Set User Access", "Set User Password (enable)"]
        );
        assert!(bmc.changes.iter().all(|(name, data)| data[usize::from(*name == "Set User Access")] == 3));
        assert_eq!(&bmc.changes[1].1[2..], password.secret().as_bytes());
        assert_eq!(bmc.changes[2].1, [0x91, 3, 4, 0]);
    }
}

#[test]
fn an_earlier_user_is_used_again_even_behind_a_free_slot() {
    let mut bmc = Bmc { users: BTreeMap::from([(2, "ADMIN"), (5, "sidero")]), ..supermicro() };
    set_up_user(&mut bmc, 2).unwrap();
    assert_eq!(bmc.changes[0].0, "Set User Password");
    assert_eq!(bmc.changes[0].1[0], 5);
    assert_eq!(bmc.changes[1].1, [0x92, 5, 4, 0]);
}

#[test]
fn a_full_bmc_and_a_dead_one_are_left_as_they_are() {
    let mut full = Bmc { users: (2..=10).map(|user| (user, "ops")).collect(), ..supermicro() };
    assert!(matches!(set_up_user(&mut full, 1), Err(Error::NoSlot)));
    let mut dead = Bmc { dead: true, ..supermicro() };
    assert!(matches!(find_lan(&mut dead), Err(Error::Ask { .. })));
    assert!(matches!(set_up_user(&mut dead, 1), Err(Error::Ask { .. })));
    assert_eq!((full.changes.len(), dead.changes.len()), (0, 0));
}

/// The slots whose name was set to the plane's user.
fn named(bmc: &Bmc) -> Vec<u8> {
    let named = bmc
        .changes
        .iter()
        .filter(|(name, data)| *name == "Set User Name" && data[1..].starts_with(b"sidero"));
    named.map(|(_, data)| data[0]).collect()
}

#[test]
fn an_empty_slot_that_is_locked_is_passed_over() {
    let mut bmc = Bmc { users: BTreeMap::new(), locked: vec![2], ..supermicro() };
    set_up_user(&mut bmc, 1).unwrap();
    assert_eq!(named(&bmc), [3]);
    let mut all = Bmc { users: BTreeMap::new(), locked: (2..=10).collect(), ..supermicro() };
    let error = set_up_user(&mut all, 1).unwrap_err().to_string();
    assert!(error.contains("slot 2: ") && error.contains("slot 10: ") && error.contains("0xcc"), "{error}");
}

#[test]
fn a_slot_filled_with_ones_is_free() {
    assert_eq!(message::user_name(&[0xff; 16]), None);
    assert_eq!(message::user_name(b"\xff\xff\0\0"), None);
    assert!(message::user_name(b"\xffops\0").is_some());
}

#[test]
fn a_refused_enable_does_not_undo_a_set_up_that_is_complete() {
    let mut bmc = Bmc { enable: Enable::Needless, ..supermicro() };
    set_up_user(&mut bmc, 1).unwrap();
    assert_eq!(named(&bmc), [3]);
    // It does where the BMC says that the user is disabled.
    let mut bmc = Bmc { enable: Enable::Refused, ..supermicro() };
    assert!(matches!(set_up_user(&mut bmc, 1), Err(Error::Refused { .. })));
}

/// A digit, a capital and a small letter.
fn three_classes(password: &str) -> bool {
    let classes: [fn(&u8) -> bool; 3] = [u8::is_ascii_digit, u8::is_ascii_uppercase, u8::is_ascii_lowercase];
    classes.iter().all(|class| password.bytes().any(|byte| class(&byte)))
}

/// And a sign.
fn four_classes(password: &str) -> bool {
    three_classes(password) && password.bytes().any(|byte| byte.is_ascii_punctuation())
}

/// No signs at all.
fn no_signs(password: &str) -> bool {
    password.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[test]
fn five_thousand_set_ups_pass_each_policy_for_passwords() {
    for policy in [three_classes as fn(&str) -> bool, four_classes, no_signs] {
        for _ in 0..5000 {
            let mut bmc = Bmc { policy: Some(policy), ..supermicro() };
            let password = set_up_user(&mut bmc, 1).unwrap();
            assert!(policy(password.secret()) && password.secret().len() == 16);
            assert_eq!(named(&bmc), [3]);
        }
    }
}

#[test]
fn a_slot_whose_password_is_always_refused_is_freed_again() {
    let mut bmc = Bmc { policy: Some(|_| false), limit: 4, ..supermicro() };
    let error = set_up_user(&mut bmc, 1).unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    let names: Vec<&(&str, Vec<u8>)> =
        bmc.changes.iter().filter(|(name, _)| *name == "Set User Name").collect();
    assert_eq!(named(&bmc), [3, 4]);
    assert!(names.len() == 4 && names[1].1 == [&[3][..], &[0; 16]].concat() && names[3].1[0] == 4);
}
