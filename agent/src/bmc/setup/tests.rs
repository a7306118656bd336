//! Against BMCs of several makes, as tables of what they answer.

use std::collections::BTreeMap;

use super::*;

/// A BMC with LAN channels, users, and habits.
#[derive(Debug, Default)]
pub(crate) struct Bmc {
    pub(crate) channels: BTreeMap<u8, u8>,
    pub(crate) addresses: BTreeMap<u8, [u8; 4]>,
    pub(crate) ports: BTreeMap<u8, u16>,
    pub(crate) users: BTreeMap<u8, &'static str>,
    pub(crate) refuses_free_slots: bool,
    pub(crate) dead: bool,
    pub(crate) limit: u8,
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
            ("Get User Access", _) => Ok(vec![0xc0 | self.limit, 1, 1, 4]),
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
    let password = Password::new().unwrap();
    for refuses_free_slots in [false, true] {
        let mut bmc =
            Bmc { refuses_free_slots, users: BTreeMap::from([(2, "ADMIN"), (4, "ops")]), ..supermicro() };
        set_up_user(&mut bmc, 1, &password).unwrap();
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
    set_up_user(&mut bmc, 2, &Password::new().unwrap()).unwrap();
    assert_eq!(bmc.changes[0].0, "Set User Password");
    assert_eq!(bmc.changes[0].1[0], 5);
    assert_eq!(bmc.changes[1].1, [0x92, 5, 4, 0]);
}

#[test]
fn a_full_bmc_and_a_dead_one_are_left_as_they_are() {
    let password = Password::new().unwrap();
    let mut full = Bmc { users: (2..=10).map(|user| (user, "ops")).collect(), ..supermicro() };
    assert!(matches!(set_up_user(&mut full, 1, &password), Err(Error::NoSlot)));
    let mut dead = Bmc { dead: true, ..supermicro() };
    assert!(matches!(find_lan(&mut dead), Err(Error::Ask { .. })));
    assert!(matches!(set_up_user(&mut dead, 1, &password), Err(Error::Ask { .. })));
    assert_eq!((full.changes.len(), dead.changes.len()), (0, 0));
}
