//! A machine registers, all lose their power, it comes back for all at once, and everything is still there.

use bloomery_lab::{
    bmc::BmcKind,
    contract::{
        AGENT_REGISTERED, AGENT_STARTED, API_PORT, APPLIANCE_PORT, BOOT_PORT, BROADCAST, PAIRING_LINE,
    },
    dhcpd::Dhcp,
    eventually,
    journey::{self, Access, REGISTRATION_LIMIT},
    lab::{Lab, LabConfig},
    machine::{Machine, MachineSpec},
    net::Helper,
    servers,
    switch::Command,
    vm::{
        Vm,
        spec::{BootPath, DiskBus, Firmware, VmSpec},
    },
};
use std::{path::PathBuf, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What the plane must run in.
const APPLIANCE_MEMORY: u32 = 1024;
/// What a blank machine has: enough for the agent.
const MACHINE_MEMORY: u32 = 512;
/// A service that had to be restarted is back by then.
const RECOVERY_LIMIT: Duration = Duration::from_mins(1);

fn image() -> PathBuf {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../out/bloomery-amd64.img");
    let image = std::env::var_os("BLOOMERY_IMAGE").map_or_else(|| PathBuf::from(default), PathBuf::from);
    assert!(
        image.is_file(),
        "{} is missing: make it with `make image`, or name another one with BLOOMERY_IMAGE",
        image.display()
    );
    image
}

fn step(text: &str, since: std::time::Instant) {
    println!("{:>7.1} s  {text}", since.elapsed().as_secs_f64());
}

/// Boots the appliance up to its pairing line, pairs, and waits for its boot services.
async fn boot(
    lab: &Lab,
    firmware: Firmware,
    disk: DiskBus,
    since: std::time::Instant,
) -> anyhow::Result<(Vm, String, Access)> {
    let spec = VmSpec { disks: vec![disk], ..VmSpec::appliance(firmware, APPLIANCE_MEMORY) };
    let appliance = lab.power_on(spec).await?;
    journey::pid1(&appliance).await?;
    step("PID 1 started", since);
    let line = journey::pairing_line(&appliance).await?;
    step("API announced", since);
    let access = journey::access(lab, &appliance, &line).await?;
    step("paired", since);
    journey::servers_are_served(&access, &appliance).await?;
    step("servers can be listed", since);
    journey::boot_services(lab, &access, &appliance).await?;
    step("boot services answer", since);
    let (_, code) = line.split_once(PAIRING_LINE).expect("the line was found by this text");
    Ok((appliance, code.trim().to_owned(), access))
}

/// Sends what no well-behaved peer sends to every port that is open to the network, then checks that all answer.
async fn survives_bad_input(lab: &Lab, appliance: &Vm, access: &Access) -> anyhow::Result<()> {
    let address = lab.appliance_address().expect("it has answered already");
    let mut broken_dhcp = vec![1, 1, 6, 0, 1, 2, 3, 4];
    broken_dhcp.resize(236, 0);
    broken_dhcp.extend([99, 130, 83, 99, 53, 255, 1]);
    let datagrams: [(u16, &[u8]); 8] = [
        (67, b""),
        (67, b"\x01"),
        (67, &broken_dhcp),
        (67, &[0xff; 1400]),
        (4011, &broken_dhcp),
        (69, b""),
        (69, b"\x00\x01no terminator"),
        (69, b"\x00\x01../../etc/passwd\x00octet\x00blksize\x00-1\x00"),
    ];
    for (port, payload) in datagrams {
        lab.net.datagram((address, port).into(), payload).await?;
    }
    lab.net.datagram((BROADCAST, 67).into(), &broken_dhcp).await?;
    let streams: [(u16, &[u8]); 6] = [
        (BOOT_PORT, b"\x00\x01\x02\r\n\r\n"),
        (BOOT_PORT, b"GET /ipxe?uuid=%zz&mac=&arch=\xff HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        (BOOT_PORT, b"GET /env/../../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        (BOOT_PORT, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
        (APPLIANCE_PORT, b"\x16\x03\x01\xff\xff\x00"),
        (API_PORT, b"GET / HTTP/1.1\r\n\r\n"),
    ];
    for (port, payload) in streams {
        let mut stream = lab.net.connect((address, port).into()).await?;
        // The peer may hang up at any byte; only its survival counts.
        let _ = stream.write_all(payload).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
        assert!(!String::from_utf8_lossy(&answer).contains("root:"), "port {port} gave a file away");
    }
    journey::boot_services(lab, access, appliance).await?;
    eventually!("the API still lists servers", RECOVERY_LIMIT, Some(&appliance.console), async {
        servers::list(&access.client).await.map(Some)
    })?;
    Ok(())
}

/// The Server holds what the machine is made of, and is not accepted.
fn is_described(server: &servers::Server, machine: &Machine) {
    let (smbios, mac) = (&machine.switch.spec.smbios, &machine.switch.spec.mac);
    assert_eq!(server.name, machine.uuid());
    assert_eq!(server.hardware("/system/uuid"), machine.uuid());
    assert_eq!(server.hardware("/system/manufacturer"), smbios.manufacturer);
    assert_eq!(server.hardware("/system/productName"), smbios.product);
    assert_eq!(server.hardware("/system/serialNumber"), smbios.serial);
    assert_eq!(server.hardware("/memory/modules/0/size"), MACHINE_MEMORY.to_string());
    assert_eq!(server.hardware("/storage/deviceCount"), "1");
    assert_eq!(server.hardware("/storage/devices/0/size"), (8_u64 << 30).to_string());
    assert!(server.spec.to_string().contains(mac), "no card {mac}: {}", server.spec);
    assert_eq!(server.spec["accepted"], false, "nobody has accepted the machine");
}

#[tokio::test]
async fn registered_machine_survives_a_power_cut_of_the_appliance() -> anyhow::Result<()> {
    let since = std::time::Instant::now();
    let config = LabConfig {
        out: concat!(env!("CARGO_MANIFEST_DIR"), "/../out/lab-power-cut").into(),
        image: image(),
        helper: Helper {
            program: env!("CARGO_BIN_EXE_bloomery-lab-supervisor").into(),
            arguments: Vec::new(),
        },
        keep_state: false,
        dhcp: Dhcp::Isc,
    };
    let lab = Lab::start(config).await?;
    step(&format!("network up, guests run by {}", lab.site.accel), since);
    let (mut appliance, code, access) = boot(&lab, Firmware::Bios, DiskBus::Virtio, since).await?;

    let spec = MachineSpec::new(BootPath::Uefi, 1, MACHINE_MEMORY, BmcKind::None);
    let machine = lab.build(spec).await?;
    machine.switch.obey(Command::On).await?;
    let before = journey::registered(&access.client, &machine).await?;
    step("machine registered", since);
    is_described(&before, &machine);

    let mut console = appliance.console.follow();
    console.lines();
    survives_bad_input(&lab, &appliance, &access).await?;
    step("malformed packets and requests survived", since);
    machine.switch.obey(Command::Cycle).await?;
    machine.switch.console().await.wait_for(AGENT_STARTED, REGISTRATION_LIMIT).await?;
    step("machine boots from the network as before", since);
    machine.switch.obey(Command::Off).await?;
    let restarted = console.lines().into_iter().find(|line| line.contains("restarting"));
    assert_eq!(restarted, None, "a service fell over bad input");

    appliance.pull_plug().await?;
    step("power cut", since);
    // The power comes back for all in the same second: the machine's firmware asks before the appliance has a network.
    // The appliance's disk is a USB stick now, and its firmware UEFI: the image boots both ways, with the same state.
    machine.switch.obey(Command::On).await?;
    let (appliance, code_after, access) = boot(&lab, Firmware::Uefi, DiskBus::Usb, since).await?;
    machine.switch.console().await.wait_for(AGENT_REGISTERED, REGISTRATION_LIMIT).await?;
    step("machine and appliance came up at once, and the machine is registered", since);
    assert_eq!(code_after, code, "the pairing code must outlive a power cut");
    let after = servers::list(&access.client).await?;
    let kept = |server: &servers::Server| (server.name.clone(), server.uid.clone(), server.spec.clone());
    let after: Vec<_> = after.iter().map(kept).collect();
    assert_eq!(after, [kept(&before)], "the server must be the same object with the same specification");
    step("server is still there", since);
    lab.stop(Some(appliance)).await?;
    step("stopped", since);
    Ok(())
}
