//! Gives the plane access to this machine's BMC: its address, then a user made for the plane (spec §5.4).
//!
//! It must never show the password, and never make a machine without a BMC look broken.

use std::time::{Duration, Instant};

use bloomery_agent_api::seal::{self, PlaneKey};
use bloomery_agent_api::{BmcInfo, PLANE_ARGUMENT};
use bloomery_sys::ipmi::{self, Device};
use bloomery_sys::modules::Modules;
use bloomery_sys::uevent::Uevents;

pub mod message;
pub mod password;
pub mod setup;

use message::Request;
use setup::{Ask, Lan};

use crate::plane::{self, Plane};

/// The system interfaces and the device node; they are loaded only when the plane wants the BMC set up.
const MODULES: [&str; 3] = ["ipmi_si", "ipmi_ssif", "ipmi_devintf"];
/// A driver needs this long at most to say hello to its BMC.
const DEVICE_LIMIT: Duration = Duration::from_secs(20);
/// One answer. BMCs are slow, above all at writing users.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Why the plane has no access.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to reach the BMC")]
    Device(#[source] ipmi::Error),
    #[error("failed to set up the BMC")]
    Setup(#[source] setup::Error),
    #[error(
        "failed to find the kernel argument {PLANE_ARGUMENT}: the account would go over the network unsealed"
    )]
    NoFingerprint,
    #[error("failed to seal the account to the plane's key")]
    Seal(#[source] seal::Error),
    #[error("failed to tell the plane about the BMC")]
    Report(#[source] plane::Error),
    #[error("failed to keep the dialogue with the BMC running")]
    Thread(#[source] tokio::task::JoinError),
}

impl Ask for Device {
    fn ask(&mut self, request: &Request) -> Result<Vec<u8>, setup::Error> {
        let name = request.name;
        let answer = (self.request(request.netfn, request.command, &request.data, ANSWER_LIMIT))
            .map_err(|source| setup::Error::Ask { request: name, source })?;
        match answer.split_first() {
            Some((0, data)) => Ok(data.to_vec()),
            Some((code, _)) => Err(setup::Error::Completion { request: name, code: *code }),
            None => Err(setup::Error::Answer { request: name }),
        }
    }
}

/// Sets up the BMC and tells the plane; `None` if this machine has none. `shown` is the key that the plane showed.
pub async fn set_up(plane: &Plane, uuid: &str, shown: &[u8]) -> Result<Option<Lan>, Error> {
    let Some(device) = blocking(open).await? else { return Ok(None) };
    // Before anything is changed.
    let key = verified(plane, shown)?;
    set_up_with(plane, uuid, &key, device).await.map(Some)
}

/// The plane's key, if it is the one that this machine was started for.
pub fn verified(plane: &Plane, shown: &[u8]) -> Result<PlaneKey, Error> {
    let expected = plane.fingerprint.as_deref().ok_or(Error::NoFingerprint)?;
    PlaneKey::verified(shown, expected).map_err(Error::Seal)
}

/// The same, with a way to the BMC. The address goes first: a plane that has it can already be told what is wrong. All
/// that is sent is sealed.
pub async fn set_up_with(
    plane: &Plane,
    uuid: &str,
    key: &PlaneKey,
    mut bmc: impl Ask + Send + 'static,
) -> Result<Lan, Error> {
    let (lan, mut bmc) =
        blocking(move || setup::find_lan(&mut bmc).map(|lan| (lan, bmc)).map_err(Error::Setup)).await?;
    let port = u32::from(lan.port);
    let address = BmcInfo { ip: lan.address.to_string(), port, ..BmcInfo::default() };
    report(plane, uuid, key, &address).await?;
    let password = blocking(move || setup::set_up_user(&mut bmc, lan.channel).map_err(Error::Setup)).await?;
    let (user, pass) = (setup::USER.to_owned(), password.secret().to_owned());
    report(plane, uuid, key, &BmcInfo { port, user, pass, ..BmcInfo::default() }).await?;
    Ok(lan)
}

async fn report(plane: &Plane, uuid: &str, key: &PlaneKey, account: &BmcInfo) -> Result<(), Error> {
    let sealed = key.seal(uuid, account).map_err(Error::Seal)?;
    plane.update_bmc_info(uuid, &sealed).await.map_err(Error::Report)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(Error::Thread)?
}

/// Loads the drivers and waits for the node, if a driver found something to drive.
fn open() -> Result<Option<Device>, Error> {
    let mut may_come = false;
    if let Ok(mut modules) = Modules::of_running_kernel() {
        for module in MODULES {
            match modules.load(module) {
                // The node's own module says nothing about hardware.
                Ok(_) => may_come |= module != "ipmi_devintf",
                Err(error) => {
                    let error = bloomery_base::chain(&error);
                    tracing::debug!(%error, "no driver for a BMC");
                }
            }
        }
    }
    let events = Uevents::listen();
    let deadline = Instant::now() + DEVICE_LIMIT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match Device::open().map_err(Error::Device)? {
            Some(device) => return Ok(Some(device)),
            None if !may_come || left.is_zero() => return Ok(None),
            None => drop(events.wait(left.min(Duration::from_secs(1)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::setup::tests::{Bmc, supermicro};
    use super::*;
    use crate::fake_plane::{FakePlane, SECRET, UUID, any_port};

    fn key(plane: &Plane) -> PlaneKey {
        verified(plane, &seal::public_key(&SECRET)).unwrap()
    }

    #[tokio::test]
    async fn the_plane_gets_the_address_first_and_then_a_user_without_it() {
        let fake = FakePlane::default();
        let plane = fake.serve(any_port()).await;
        set_up_with(&plane, UUID, &key(&plane), supermicro()).await.unwrap();
        assert_eq!(fake.told(), ["bmc 10.77.0.11 623  0", "bmc  623 sidero 16"]);
    }

    #[tokio::test]
    async fn a_bmc_without_room_for_a_user_is_still_known_by_its_address() {
        let fake = FakePlane::default();
        let plane = fake.serve(any_port()).await;
        let full = Bmc { users: (2..=10).map(|user| (user, "ops")).collect(), ..supermicro() };
        let error = set_up_with(&plane, UUID, &key(&plane), full).await.unwrap_err();
        assert!(matches!(error, Error::Setup(setup::Error::NoSlot)), "{error:?}");
        assert_eq!(fake.told(), ["bmc 10.77.0.11 623  0"]);
    }

    #[tokio::test]
    async fn of_a_dead_bmc_the_plane_hears_nothing() {
        let fake = FakePlane::default();
        let plane = fake.serve(any_port()).await;
        let error =
            set_up_with(&plane, UUID, &key(&plane), Bmc { dead: true, ..supermicro() }).await.unwrap_err();
        assert!(matches!(error, Error::Setup(setup::Error::Ask { .. })), "{error:?}");
        assert_eq!(fake.told(), [""; 0]);
    }

    #[tokio::test]
    async fn without_the_key_that_this_machine_was_started_for_nothing_is_sent_and_it_is_said_why() {
        let fake = FakePlane::default();
        let plane = fake.serve(any_port()).await;
        let ours = seal::public_key(&SECRET);
        let nobody = Plane { fingerprint: None, ..plane.clone() };
        let strangers = seal::public_key(&[9; seal::KEY_LENGTH]);
        for (plane, shown, part) in [
            (&nobody, ours.as_slice(), "bloomery.plane"),
            (&plane, &strangers, "this machine was started with"),
            (&plane, &[], "0 octets instead of 32"),
        ] {
            let error = verified(plane, shown).unwrap_err();
            let text = bloomery_base::chain(&error);
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(fake.told(), [""; 0]);
    }
}
