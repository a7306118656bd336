//! A hostile host on the machines' network that knows their UUIDs, cards and serial numbers, against the whole plane.
//!
//! It goes on for a minute, or `IMPOSTOR_SECONDS`; each attack makes many rounds in that time. The root tree is
//! `out/rootfs`, or the folder that `BLOOMERY_ROOTFS` names.

mod site;
mod victims;

use anyhow::{Context, Result, ensure};
use bloomery_lab::{
    eventually,
    impostor::{Order, Report, host, host::Host},
    patience::{patience, scaled},
    servers,
};
use k8s_openapi::api::core::v1::Event;
use kube::{Api, api::ListParams};
use site::{ANSWER_LIMIT, Bench, Site, helper};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, Ipv6Addr},
    time::Duration,
};
use victims::{Fleets, stranger, victim};

/// How long the attack goes on, seconds, unless `IMPOSTOR_SECONDS` says otherwise.
const ATTACK: u64 = 60;
/// Until the plane is seen to be under attack, and until the attack is seen on the Servers afterwards.
const SEEN_LIMIT: Duration = Duration::from_mins(1);
/// From the end of its time to the end of the attack.
const END_LIMIT: Duration = Duration::from_mins(1);
/// Real machines that register before and meanwhile.
const MACHINES: u32 = 4;
/// Their first numbers, and ports of their power API: each simulation has a subnet of its own.
const BEFORE: (u32, u16) = (500, 8002);
const MEANWHILE: (u32, u16) = (750, 8003);
/// A registration that takes no longer than this is never too slow, seconds: firmware that asks again after a lost
/// datagram, and two busy cores.
const FLOOR: f64 = 20.0;
/// Addresses of the impostor: four that ask and call, the next one only for what TFTP sends, then those of connections
/// that are held.
const SOURCES: u8 = 4;
const FIRST_SOURCE: u8 = 200;
const HOLDERS: std::ops::Range<u8> = FIRST_SOURCE + SOURCES + 1..FIRST_SOURCE + SOURCES + 41;
/// Registrations that one address, or network of 64 bits, may cause at once (DESIGN.md: limits), and then in a second.
const BURST: u64 = 64;
/// Some more seconds than the attack takes.
const MARGIN: u64 = 30;
/// What the boot services may hold in memory, MiB.
const MAX_MEMORY: u64 = 160;
/// What the objects of an attack may add to etcd's database, MiB.
const MAX_DATABASE: u64 = 128;
/// Where etcd keeps it, in the plane's state.
const DATABASE: &str = "plane-var/lib/bloomery/etcd";
const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn an_impostor_gets_nothing_and_keeps_no_machine_out() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut bench = Bench::build(folder.path()).await.expect("a machine");
    let outcome = Box::pin(life(&mut bench)).await;
    bench.machine.cut_power(&bench.net).await.expect("power off");
    bench.net.stop().await.expect("the end of the lab");
    if let Err(error) = outcome {
        let console = std::fs::read_to_string(bench.dir.console("plane")).unwrap_or_default();
        panic!("{error:#}\nconsole:\n{console}");
    }
}

/// What is measured of the plane.
#[derive(Debug)]
struct Measured {
    services: BTreeSet<(String, u32)>,
    memory: u64,
    database: u64,
    servers: usize,
}

async fn measure(bench: &Bench, site: &Site) -> Result<Measured> {
    let processes = bench.machine.processes(&bench.net).await?;
    let boot = processes.iter().find(|process| process.program == "bootsvc").context("no boot services")?;
    let status = bench.net.run(&["cat", &format!("/proc/{}/status", boot.pid)], "").await?;
    // The most that it ever held.
    let memory = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next());
    let memory = memory.and_then(|kib| kib.parse::<u64>().ok()).context("no figure of memory")? / 1024;
    let database = bench.dir.path(DATABASE);
    let database = database.to_str().context("the lab's folder is not UTF-8")?;
    let script = format!("find {database} -name db -exec stat -c %s {{}} +");
    let database = bench.net.run(&["sh", "-c", &script], "").await?;
    let database = database.lines().next().and_then(|octets| octets.parse::<u64>().ok());
    Ok(Measured {
        services: processes.into_iter().map(|process| (process.program, process.pid)).collect(),
        memory,
        database: database.context("no database of etcd")? / MIB,
        servers: servers::list(&site.client).await?.len(),
    })
}

async fn life(bench: &mut Bench) -> Result<()> {
    let site = Site::start(bench).await?;
    bench.step("the plane serves machines");
    let stale =
        BTreeMap::from([(victims::WIPING, victims::stale_token(bench, &site, victims::WIPING).await?)]);
    let fleets = Fleets::bring_up(bench, &site).await?;
    let usual = site.registration(BEFORE.0, MACHINES, BEFORE.1).await?;
    bench.step(&format!("{MACHINES} machines register within {usual:.1} s"));
    let before = victims::snapshot(&site).await?;
    let plane_before = measure(bench, &site).await?;
    let mut console = site.console.follow();
    console.lines();

    let duration = Duration::from_secs(
        std::env::var("IMPOSTOR_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ATTACK),
    );
    let order = order(bench, &site, stale, duration).await?;
    let host_addresses = order.sources.iter().chain([&order.reflected]).chain(&order.holders);
    let host_addresses: Vec<Ipv4Addr> = host_addresses.copied().collect();
    let host = Host::build(&bench.net, &bench.dir, &host_addresses, &order.sources_v6).await?;
    let program = helper(env!("CARGO_BIN_EXE_bloomery-lab-impostor"));
    let attack = host.attack(&bench.net, &program, &order).await?;
    eventually!("machines that do not exist register", SEEN_LIMIT, Some(&site.console), async {
        let known = servers::list(&site.client).await?.len();
        Ok::<_, anyhow::Error>((known > plane_before.servers + 10).then_some(()))
    })?;
    bench.step("the attack is under way");
    let meanwhile = site.registration(MEANWHILE.0, MACHINES, MEANWHILE.1).await?;
    bench.step(&format!("under attack {MACHINES} machines register within {meanwhile:.1} s"));
    ensure!(attack.process.exit().is_none(), "the attack was over before the machines were registered");
    let report = attack.ended(duration + scaled(END_LIMIT)).await?;
    bench.step(&format!("the attack is over: {report:#?}"));

    got_nothing(&report)?;
    let limit = (2.0 * usual).max(FLOOR * patience());
    ensure!(meanwhile <= limit, "machines register within {meanwhile:.1} s under attack, else {usual:.1} s");
    let after = victims::snapshot(&site).await?;
    for (before, after) in before.iter().zip(&after) {
        ensure!(before == after, "changed by a stranger:\n{before:#}\n{after:#}");
    }
    is_bounded(bench, &site, &plane_before, &order).await?;
    let restarted =
        console.lines().into_iter().find(|line| line.contains("restarting") || line.contains("killed"));
    ensure!(restarted.is_none(), "a service fell: {restarted:?}");
    is_visible(&site).await?;
    bench.step("the attack is seen on the Servers");
    fleets.stop().await
}

async fn order(
    bench: &Bench,
    site: &Site,
    stale: BTreeMap<u32, String>,
    duration: Duration,
) -> Result<Order> {
    let addresses = ["ip", "-6", "-oneline", "addr", "show", "dev", "eth0", "scope", "link"];
    let addresses = bench.machine.in_network(&bench.net, &addresses).await?;
    let plane_v6 = addresses.split_ascii_whitespace().find_map(|word| word.split_once('/')?.0.parse().ok());
    Ok(Order {
        plane: site.lab.plane,
        plane_v6: plane_v6.with_context(|| format!("the plane has no address of the link: {addresses:?}"))?,
        sources: (FIRST_SOURCE..FIRST_SOURCE + SOURCES).map(stranger).collect(),
        holders: HOLDERS.map(stranger).collect(),
        sources_v6: [0xbad1, 0xbad2].map(|last| Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last)).to_vec(),
        reflected: stranger(FIRST_SOURCE + SOURCES),
        mac: host::MAC.to_owned(),
        victims: victims::ALL.map(victim).to_vec(),
        stale,
        secret: victims::SECRET.to_owned(),
        duration,
    })
}

/// No token, no wipe order, no configuration; and every attack took place.
fn got_nothing(report: &Report) -> Result<()> {
    ensure!(report.gains.is_empty(), "the impostor got: {:#?}", report.gains);
    let sum = |prefix: &str| -> u64 {
        let counts = report.counts.iter().filter(|(kind, _)| kind.starts_with(prefix));
        counts.map(|(_, count)| count).sum()
    };
    // Few enough for any machine: the plane answers strangers as fast as it can beside its own machines.
    for (attack, least) in [
        ("ipxe v4: agent without token", 5),
        ("ipxe v6: agent without token", 5),
        ("ipxe v4", 100),
        ("ipxe v6", 50),
        ("CreateServer known", 50),
        ("CreateServer made up: answered", 50),
        ("CreateServer made up: OutOfRange", 1),
        ("MarkServerAsWiped: ", 20),
        ("UpdateBMCInfo: ", 20),
        ("Heartbeat: ", 200),
        ("half-open: connected", 200),
        ("endless: begun", 24),
        ("TFTP: transfers", 8),
        ("TFTP: packets", 8),
        ("DHCP: requests", 1000),
    ] {
        ensure!(sum(attack) >= least, "{attack}: only {} of {least} at least: {report:#?}", sum(attack));
    }
    Ok(())
}

/// Objects, memory and the database are bounded, and no service was started anew.
async fn is_bounded(bench: &Bench, site: &Site, before: &Measured, order: &Order) -> Result<()> {
    let after = measure(bench, site).await?;
    bench.step(&format!(
        "boot services: {} MiB; database of etcd: {} MiB, before {} MiB; Servers: {}, before {}",
        after.memory, after.database, before.database, after.servers, before.servers
    ));
    ensure!(after.services == before.services, "services:\n{:?}\n{:?}", before.services, after.services);
    ensure!(after.memory <= MAX_MEMORY, "the boot services hold {} MiB", after.memory);
    let grown = after.database.saturating_sub(before.database);
    ensure!(grown <= MAX_DATABASE, "the database of etcd grew by {grown} MiB");
    // All addresses of the link are one network.
    let networks = u64::from(SOURCES) + 1;
    let most = networks * (BURST + order.duration.as_secs() + MARGIN) + u64::from(MACHINES);
    let made = u64::try_from(after.servers - before.servers)?;
    ensure!(made <= most, "{made} Servers were made; {most} at most");
    Ok(())
}

/// Each machine that was impersonated shows it, with the command that ends it, and there are events.
async fn is_visible(site: &Site) -> Result<()> {
    for index in victims::ALL {
        victims::until(site, index, "shows that another machine has its marks", |server| {
            let conflict = server.condition("IdentityConflict").unwrap_or_default();
            conflict.starts_with("True") && conflict.contains("bloomery servers split")
        })
        .await?;
    }
    let events: Api<Event> = Api::namespaced(site.client.clone(), "default");
    eventually!("events tell of it", ANSWER_LIMIT, Some(&site.console), async {
        let events = events.list(&ListParams::default()).await?;
        let told: BTreeSet<_> = events
            .items
            .into_iter()
            .filter(|event| event.reason.as_deref() == Some("Identity Conflict"))
            .filter_map(|event| event.involved_object.name)
            .collect();
        let missing: Vec<_> =
            victims::ALL.map(victims::name).into_iter().filter(|name| !told.contains(name)).collect();
        ensure!(missing.is_empty(), "no event on {missing:?}");
        Ok::<_, anyhow::Error>(Some(()))
    })?;
    Ok(())
}
