//! `CreateServer` for known machines, and for thousands that do not exist.

use super::{
    Stage, Victim,
    wire::{Way, call},
};
use crate::simulate::inventory;
use bloomery_agent_api as pb;
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;
use uuid::Uuid;

/// Registrations of known machines: one in each pause.
const KNOWN_EVERY: Duration = Duration::from_millis(50);
/// Registrations of machines that do not exist: callers, and the pause of each.
const CALLERS: usize = 4;
const MADE_UP_EVERY: Duration = Duration::from_millis(60);
/// Disks of a machine that does not exist, and characters of each one's model: some 40 KiB.
const DISKS: u32 = 150;
const MODEL: usize = 240;
/// One of so many says more than is taken.
const TOO_MUCH_EVERY: u64 = 16;
/// Its disks then.
const TOO_MANY_DISKS: u32 = 1500;
/// A card that is no machine's.
const OWN_CARDS: [u8; 3] = [0x02, 0x0b, 0xad];

/// Starts the callers.
pub(super) fn spawn(stage: &Arc<Stage>, tasks: &mut JoinSet<()>) {
    let ways = Arc::new(stage.ways());
    let (known, ways_of_known) = (Arc::clone(stage), Arc::clone(&ways));
    tasks.spawn(async move {
        let all = attempts(&known.order.victims, &known.order.mac);
        let act = |round: u64| {
            let at = usize::try_from(round).unwrap_or_default();
            let (index, hardware) = &all[at % all.len()];
            let way = ways_of_known[at / all.len() % ways_of_known.len()];
            let old = known.order.stale.get(index).map(String::as_str);
            let token = [None, old, Some("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")][at % 3];
            register_known(&known, hardware.clone(), token, way)
        };
        known.repeat(KNOWN_EVERY, act).await;
    });
    for caller in 0..CALLERS {
        let (stage, ways) = (Arc::clone(stage), Arc::clone(&ways));
        tasks.spawn(async move {
            let act = |round: u64| {
                let at = usize::try_from(round).unwrap_or_default();
                let disks = if round.is_multiple_of(TOO_MUCH_EVERY) { TOO_MANY_DISKS } else { DISKS };
                register_made_up(&stage, made_up(disks), ways[(at + caller) % ways.len()])
            };
            stage.repeat(MADE_UP_EVERY, act).await;
        });
    }
}

/// Inventories that show marks of known machines, with what is not theirs.
fn attempts(victims: &[Victim], own_mac: &str) -> Vec<(u32, pb::HardwareInformation)> {
    let mut all = Vec::new();
    for victim in victims {
        let changed = |change: &dyn Fn(&mut pb::HardwareInformation)| {
            let mut hardware = inventory::hardware(&victim.identity());
            // The inventory is never the one on record.
            if let Some(memory) = &mut hardware.memory {
                memory.total_size += 1;
            }
            for disk in hardware.storage.iter_mut().flat_map(|storage| &mut storage.devices) {
                "IMPOSTOR".clone_into(&mut disk.serial);
            }
            change(&mut hardware);
            (victim.index, hardware)
        };
        all.push(changed(&|_| {}));
        all.push(changed(&|hardware| set_cards(hardware, own_mac)));
        all.push(changed(&|hardware| {
            set_cards(hardware, own_mac);
            set_serial(hardware, "IMPOSTOR-2");
        }));
        all.push(changed(&|hardware| set_serial(hardware, "IMPOSTOR-3")));
        all.push(changed(&|hardware| {
            if let Some(system) = &mut hardware.system {
                system.uuid = Uuid::from_u128(0x1357_0000_0000_4000_8000_0000_0bad_1000).to_string();
            }
        }));
        all.push(changed(&|hardware| {
            hardware.network = None;
            set_serial(hardware, "");
        }));
    }
    all
}

fn set_cards(hardware: &mut pb::HardwareInformation, mac: &str) {
    for card in hardware.network.iter_mut().flat_map(|network| &mut network.interfaces) {
        mac.clone_into(&mut card.mac);
    }
}

fn set_serial(hardware: &mut pb::HardwareInformation, serial: &str) {
    if let Some(system) = &mut hardware.system {
        serial.clone_into(&mut system.serial_number);
    }
}

/// A machine that does not exist.
fn made_up(disks: u32) -> pb::HardwareInformation {
    let uuid = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    let number: [u8; 3] = rand::random();
    let mac: Vec<String> = OWN_CARDS.iter().chain(&number).map(|octet| format!("{octet:02x}")).collect();
    let device = |number: u32| pb::StorageDevice {
        model: "M".repeat(MODEL),
        serial: format!("{uuid}-{number}"),
        name: format!("sd{number}"),
        device_name: format!("/dev/sd{number}"),
        size: 1 << 40,
        ..pb::StorageDevice::default()
    };
    let card = pb::NetworkInterface { mac: mac.join(":"), ..pb::NetworkInterface::default() };
    pb::HardwareInformation {
        system: Some(pb::SystemInformation {
            uuid: uuid.to_string(),
            serial_number: uuid.simple().to_string(),
            manufacturer: "Impostor".to_owned(),
            ..pb::SystemInformation::default()
        }),
        storage: Some(pb::StorageInformation {
            devices: (0..disks).map(device).collect(),
            ..pb::StorageInformation::default()
        }),
        network: Some(pb::NetworkInformation { interface_count: 1, interfaces: vec![card] }),
        ..pb::HardwareInformation::default()
    }
}

async fn register_known(stage: &Stage, hardware: pb::HardwareInformation, token: Option<&str>, way: Way) {
    let uuid = hardware.system.as_ref().map(|system| system.uuid.clone()).unwrap_or_default();
    register(stage, "known", (uuid, hardware), token, way).await;
}

async fn register_made_up(stage: &Stage, hardware: pb::HardwareInformation, way: Way) {
    register(stage, "made up", ("a made-up machine".to_owned(), hardware), None, way).await;
}

async fn register(
    stage: &Stage,
    kind: &str,
    (name, hardware): (String, pb::HardwareInformation),
    token: Option<&str>,
    way: Way,
) {
    let address = pb::Address { r#type: "InternalIP".to_owned(), address: "10.77.0.200".to_owned() };
    let (hostname, addresses) = ("impostor".to_owned(), vec![address]);
    let request = pb::CreateServerRequest { hardware: Some(hardware), hostname, addresses };
    let answer = match way.agent().await {
        Ok(mut agent) => agent.create_server(call(request, token)).await,
        Err(_) => return stage.count(format!("CreateServer {kind}: no connection"), 1),
    };
    match answer {
        Ok(answer) => {
            let answer = answer.into_inner();
            if answer.wipe {
                stage.gain(format!("a wipe order for {name} over {}", way.family()));
            }
            if answer.setup_bmc {
                stage.gain(format!("an order to set up the controller of {name} over {}", way.family()));
            }
            stage.count(format!("CreateServer {kind}: answered"), 1);
        }
        Err(status) => stage.count(format!("CreateServer {kind}: {:?}", status.code()), 1),
    }
}
