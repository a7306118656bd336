//! The whole plane, started by its own PID 1 in namespaces: real etcd, kube-apiserver, controllers, boot services.
//!
//! The root tree is `out/rootfs`, or the folder that `BLOOMERY_ROOTFS` names. Users of their own and control groups
//! are checked where the caller is root; everything else works in a user namespace as well.

use anyhow::{Context, Result, ensure};
use bloomery_lab::{
    console::Console,
    container::{Container, ContainerSpec},
    contract::{API_LINE, PAIRING_LINE},
    dhcpd::Dhcpd,
    eventually,
    forward::Forwards,
    net::{Helper, Net},
    plane,
    state::LabDir,
};
use k8s_openapi::{
    api::core::v1::ConfigMap, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{Api, Client, Config, api::PostParams};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

/// A boot to the announced API: three seconds on an idle machine.
const BOOT_LIMIT: Duration = Duration::from_mins(4);
/// From the announced API to every service being ready.
const SERVICES_LIMIT: Duration = Duration::from_mins(4);
/// A killed service is there again, and ready.
const RESTART_LIMIT: Duration = Duration::from_mins(2);
/// Anything that the plane answers at once.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Services with a process that stays: their program (the name shown by the process list) and user id in the image.
const SERVICES: [(&str, u32); 8] = [
    ("etcd", 101),
    ("kube-apiserver", 102),
    ("kube-controller-manager", 103),
    ("cluster-api", 104),
    ("controllers", 105),
    ("bootsvc", 106),
    ("siderolink", 109),
    ("appliance", 108),
];
/// A state partition in memory: room for two write-ahead logs of etcd and little more.
const MEMORY_STATE: &str = "size=320m,mode=0755";
/// DESIGN.md's port table; `*` is any address but loopback.
const PORTS: [&str; 22] = [
    "tcp *:6443",
    "tcp *:8443",
    "tcp *:8081",
    "udp *:67",
    "udp *:69",
    "udp *:4011",
    "tcp 127.0.0.1:2379",
    "tcp 127.0.0.1:2380",
    "tcp 127.0.0.1:2381",
    "tcp 127.0.0.1:9440",
    "tcp 127.0.0.1:9441",
    "tcp 127.0.0.1:9442",
    "tcp 127.0.0.1:9443",
    "tcp 127.0.0.1:9444",
    "tcp 127.0.0.1:9445",
    "tcp 127.0.0.1:9446",
    "tcp 127.0.0.1:4000",
    "udp *:51821",
    // On the plane's address in the tunnel.
    "tcp *:4001",
    "tcp *:4002",
    "tcp 127.0.0.1:10257",
    // The DHCP client of PID 1.
    "udp *:68",
];
/// The order in which services stop: each after all that depend on it.
const STOPS_AFTER: [(&str, &str); 6] = [
    ("etcd", "kube-apiserver"),
    ("kube-apiserver", "kube-controller-manager"),
    ("kube-apiserver", "cluster-api"),
    ("kube-apiserver", "controllers"),
    ("kube-apiserver", "siderolink"),
    ("kube-apiserver", "apply"),
];

/// The machine and all that is around it.
struct Bench {
    net: Net,
    dir: Arc<LabDir>,
    forwards: Forwards,
    machine: Container,
    started: Instant,
}

impl Bench {
    fn step(&self, text: &str) {
        println!("{:>7.1} s  {text}", self.started.elapsed().as_secs_f64());
    }

    async fn build(folder: &std::path::Path) -> Result<Self> {
        let dir = Arc::new(LabDir::open(folder, false).await?);
        let helper =
            Helper { program: env!("CARGO_BIN_EXE_bloomery-lab-supervisor").into(), arguments: Vec::new() };
        let net = Net::start(Arc::clone(&dir), &helper).await?;
        let forwards = Forwards::open(&dir).await?;
        let spec = ContainerSpec {
            root: root_tree(),
            launcher: env!("CARGO_BIN_EXE_bloomery-lab-container").into(),
            var: dir.path("plane-var"),
            boot: dir.path("plane-boot"),
        };
        let machine = Container::build(&net, &dir, spec).await?;
        Ok(Self { net, dir, forwards, machine, started: Instant::now() })
    }

    /// Waits for the two lines of a boot; gives the pairing line.
    async fn announced(&self, console: &Console) -> Result<String> {
        console.wait_for(API_LINE, BOOT_LIMIT).await?;
        let line = console.wait_for(PAIRING_LINE, ANSWER_LIMIT).await?;
        self.step("API announced");
        Ok(line)
    }

    /// Waits until every service is ready.
    async fn all_ready(&self, console: &Console) -> Result<()> {
        for (service, _) in SERVICES {
            console.wait_for(&format!("{service}: ready after"), SERVICES_LIMIT).await?;
        }
        self.step("all services ready");
        Ok(())
    }

    async fn admin(&self, line: &str, console: &Console) -> Result<Client> {
        let kubeconfig = eventually!("pairing", ANSWER_LIMIT, Some(console), async {
            plane::pair(line, &self.forwards).await.map(Some)
        })?;
        plane::client(&kubeconfig).await
    }
}

fn root_tree() -> PathBuf {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../out/rootfs");
    let root = std::env::var_os("BLOOMERY_ROOTFS").map_or_else(|| PathBuf::from(default), PathBuf::from);
    assert!(
        root.join("usr/bin/etcd").exists(),
        "{} is no root tree: make it with `make image`, or name another one with BLOOMERY_ROOTFS",
        root.display()
    );
    root.canonicalize().expect("an existing folder")
}

#[tokio::test(flavor = "multi_thread")]
async fn boots_serves_restarts_survives_power_cuts_and_stops_in_order() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut bench = Bench::build(folder.path()).await.expect("a machine");
    let outcome = life(&mut bench).await;
    finish(bench, outcome).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn says_that_memory_is_volatile_lives_with_a_full_disk_and_refuses_damaged_state() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut bench = Bench::build(folder.path()).await.expect("a machine");
    let outcome = hardship(&mut bench).await;
    finish(bench, outcome).await;
}

/// Shows what there is to see of a failure, and ends everything.
async fn finish(mut bench: Bench, outcome: Result<()>) {
    if outcome.is_err() {
        println!("console:\n{}", std::fs::read_to_string(bench.dir.console("plane")).unwrap_or_default());
    }
    bench.machine.cut_power(&bench.net).await.expect("power off");
    bench.net.stop().await.expect("the end of the lab");
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}

async fn hardship(bench: &mut Bench) -> Result<()> {
    let var = bench.dir.path("plane-var");
    let var = var.to_str().context("the lab's folder is not UTF-8")?;
    let _dhcpd = Dhcpd::start(&bench.dir, &bench.net).await?;
    bench.net.run(&["mount", "-t", "tmpfs", "-o", MEMORY_STATE, "tmpfs", var], "").await?;
    let console = bench.machine.power_on(&bench.net).await?;
    console.wait_for("WILL BE LOST at the next restart", BOOT_LIMIT).await?;
    let line = bench.announced(&console).await?;
    bench.all_ready(&console).await?;
    let client = bench.admin(&line, &console).await?;
    write_object(&client).await?;
    bench.step("a plane in memory is up, and says so");

    let fill = format!("head -c 1G /dev/zero > {var}/filler; stat -fc %a {var}");
    let free = bench.net.run(&["sh", "-c", &fill], "").await?;
    ensure!(free.trim() == "0", "the disk is not full: {free} blocks are free");
    console.wait_for("WARNING: the state partition is almost full", ANSWER_LIMIT * 2).await?;
    // etcd ends itself when it cannot write; what needs no disk goes on.
    restart(bench, "appliance", &console).await?;
    bench.step("a full disk is told, and the rest goes on");
    bench.net.run(&["rm", &format!("{var}/filler")], "").await?;
    console.wait_for("the state partition has room again", ANSWER_LIMIT * 2).await?;
    let back = eventually!("the object is read again", RESTART_LIMIT, Some(&console), async {
        Api::<ConfigMap>::namespaced(client.clone(), "default").get("survivor").await.map(Some)
    })?;
    ensure!(back.data == object().data, "the object has changed: {:?}", back.data);
    bench.step("room again, and nothing is lost");

    bench.machine.cut_power(&bench.net).await?;
    bench.net.run(&["sh", "-c", &format!("echo rubbish > {var}/lib/bloomery/pki/ca.key")], "").await?;
    let console = bench.machine.power_on(&bench.net).await?;
    console.wait_for("the control plane is not started: its state is damaged", BOOT_LIMIT).await?;
    console.wait_for("boot phases done", ANSWER_LIMIT).await?;
    let running = bench.machine.processes(&bench.net).await?;
    ensure!(running.iter().all(|process| process.program == "init"), "on damaged state: {running:?}");
    let kept = bench.net.run(&["cat", &format!("{var}/lib/bloomery/pki/ca.key")], "").await?;
    ensure!(kept == "rubbish\n", "the damaged key was overwritten");
    bench.step("damaged state is refused, and left as it is");
    let ended = bench.machine.stop(&bench.net).await?;
    ensure!(ended.contains("exit status: 0"), "PID 1 ended with {ended}");
    Ok(())
}

async fn life(bench: &mut Bench) -> Result<()> {
    let console = bench.machine.power_on(&bench.net).await?;
    serves_before_it_has_an_address(bench, &console).await?;
    let _dhcpd = Dhcpd::start(&bench.dir, &bench.net).await?;
    let line = bench.announced(&console).await?;
    bench.all_ready(&console).await?;
    let client = bench.admin(&line, &console).await?;
    the_certificate_names_the_address(bench, &console).await?;
    kinds_are_established(&client, &console).await?;
    bench.step("kinds established");
    only_health_is_anonymous(bench).await?;
    only_the_port_table_listens(bench, &console).await?;
    each_service_has_its_user(bench).await?;
    the_root_is_read_only(bench).await?;
    bench.step("rights and ports checked");
    write_object(&client).await?;
    every_killed_service_comes_back(bench, &client, &console).await?;

    bench.machine.cut_power(&bench.net).await?;
    bench.step("power cut");
    std::fs::write(bench.dir.path("plane-boot/bloomery.yaml"), "hostnam: forge\n")?;
    let console = bench.machine.power_on(&bench.net).await?;
    let again = bench.announced(&console).await?;
    ensure!(again == line, "another pairing code after a power cut: {line:?}, {again:?}");
    ensure!(console.find("bloomery.yaml:1:1: unknown key `hostnam`").is_some(), "the mistake is not told");
    boot_services_come_first(&console)?;
    bench.all_ready(&console).await?;
    object_is_there(&client, &console).await?;
    bench.step("the object is still there, for the same kubeconfig");

    let ended = bench.machine.stop(&bench.net).await?;
    ensure!(ended.contains("exit status: 0"), "PID 1 ended with {ended}");
    stopped_in_order(&console)?;
    bench.step("stopped in order");
    Ok(())
}

/// No DHCP server answers: the control plane starts, the trouble is told, and no API is announced.
async fn serves_before_it_has_an_address(bench: &Bench, console: &Console) -> Result<()> {
    console.wait_for("kube-apiserver: ready after", BOOT_LIMIT).await?;
    console.wait_for("no DHCP server answers", BOOT_LIMIT).await?;
    ensure!(console.find(API_LINE).is_none(), "an API was announced without an address");
    bench.step("API ready on loopback, without an address");
    Ok(())
}

/// The certificate was made before there was an address; it has to have followed.
async fn the_certificate_names_the_address(bench: &Bench, console: &Console) -> Result<()> {
    let line = console.find(API_LINE).context("no API line")?;
    let (_, url) = line.split_once(API_LINE).context("no address in the API line")?;
    let (address, _) = url.rsplit_once(':').context("no port in the API line")?;
    let mut config = Config::new(format!("https://{}", bench.forwards.api.local).parse()?);
    config.root_cert_file = Some(bench.dir.path("plane-var/lib/bloomery/pki/ca.crt"));
    config.tls_server_name = Some(address.to_owned());
    let client = Client::try_from(config)?;
    eventually!("the API's certificate names its address", ANSWER_LIMIT, Some(console), async {
        client.request_text(http_get("/readyz")?).await.map(|_| Some(())).map_err(anyhow::Error::from)
    })?;
    Ok(())
}

async fn kinds_are_established(client: &Client, console: &Console) -> Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let names = eventually!("all kinds are established", SERVICES_LIMIT, Some(console), async {
        let list = api.list(&kube::api::ListParams::default()).await?;
        let pending: Vec<_> = list
            .items
            .iter()
            .filter(|kind| !is_established(kind))
            .map(|kind| kind.metadata.name.clone())
            .collect();
        if !pending.is_empty() {
            anyhow::bail!("pending: {pending:?}");
        }
        let names: BTreeSet<_> = list.items.into_iter().filter_map(|kind| kind.metadata.name).collect();
        Ok::<_, anyhow::Error>(Some(names))
    })?;
    for name in ["servers.metal.sidero.dev", "serverclasses.metal.sidero.dev", "clusters.cluster.x-k8s.io"] {
        ensure!(names.contains(name), "{name} is not among {names:?}");
    }
    Ok(())
}

fn is_established(kind: &CustomResourceDefinition) -> bool {
    let conditions = kind.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Established" && condition.status == "True")
}

/// Nobody's requests: health is answered, nothing else is.
async fn only_health_is_anonymous(bench: &Bench) -> Result<()> {
    let url = format!("https://{}", bench.forwards.api.local).parse().context("failed to name the API")?;
    let mut config = Config::new(url);
    config.accept_invalid_certs = true;
    let nobody = Client::try_from(config)?;
    for path in ["/healthz", "/livez", "/readyz"] {
        let answer = nobody.request_text(http_get(path)?).await.with_context(|| path.to_owned())?;
        ensure!(answer == "ok", "{path}: {answer}");
    }
    for path in
        ["/", "/version", "/api", "/apis", "/metrics", "/openapi/v2", "/api/v1/namespaces", "/readyz/etcd"]
    {
        match nobody.request_text(http_get(path)?).await {
            Err(kube::Error::Api(status)) if status.code == 401 => {}
            other => anyhow::bail!("anonymous GET {path} was answered with {other:?}"),
        }
    }
    Ok(())
}

fn http_get(path: &str) -> Result<http::Request<Vec<u8>>> {
    http::Request::get(path).body(Vec::new()).context("failed to make a request")
}

/// Services that heard the machine's address a moment ago start anew: what is looked at is what they come to.
async fn only_the_port_table_listens(bench: &Bench, console: &Console) -> Result<()> {
    let allowed: BTreeSet<String> = PORTS.iter().map(|port| (*port).to_owned()).collect();
    eventually!("only the port table listens", ANSWER_LIMIT, Some(console), async {
        let sockets = bench.machine.in_network(&bench.net, &["ss", "-Hlntup"]).await?;
        let found: BTreeSet<String> =
            sockets.lines().filter(|line| !is_left_by_boringtun(line)).filter_map(listener).collect();
        let strangers: Vec<_> = found.difference(&allowed).collect();
        ensure!(strangers.is_empty(), "listening beyond the port table: {strangers:?} of\n{sockets}");
        let missing: Vec<_> = allowed.difference(&found).filter(|port| *port != "udp *:68").collect();
        ensure!(missing.is_empty(), "not listening: {missing:?}");
        anyhow::Ok(Some(()))
    })?;
    Ok(())
}

/// Where the host's kernel has no WireGuard, boringtun keeps the port open that it had before it was given its own. The
/// image's kernel has WireGuard.
fn is_left_by_boringtun(line: &str) -> bool {
    line.starts_with("udp") && line.contains("\"siderolink\"") && !line.contains(":51821 ")
}

/// `PROTOCOL STATE RECV SEND LOCAL PEER` of ss(8), with all addresses but loopback as `*`.
fn listener(line: &str) -> Option<String> {
    let mut words = line.split_ascii_whitespace();
    let (protocol, local) = (words.next()?, words.nth(3)?);
    let (address, port) = local.rsplit_once(':')?;
    let address = if address.starts_with("127.") { address } else { "*" };
    Some(format!("{protocol} {address}:{port}"))
}

async fn each_service_has_its_user(bench: &Bench) -> Result<()> {
    let processes = bench.machine.processes(&bench.net).await?;
    let programs: BTreeMap<&str, u32> =
        processes.iter().map(|process| (process.program.as_str(), process.uid)).collect();
    for (service, uid) in SERVICES {
        let found =
            programs.get(service).with_context(|| format!("{service} does not run: {processes:?}"))?;
        ensure!(*found == uid || !is_root(), "{service} runs as {found}, not as {uid}");
    }
    let expected: BTreeSet<&str> = SERVICES.iter().map(|(name, _)| *name).chain(["init"]).collect();
    let strangers: Vec<_> = programs.keys().filter(|program| !expected.contains(*program)).collect();
    ensure!(strangers.is_empty(), "unknown processes: {strangers:?}");
    Ok(())
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

async fn the_root_is_read_only(bench: &Bench) -> Result<()> {
    let init = bench.machine.init(&bench.net).await?;
    let mounts = bench.net.run(&["cat", &format!("/proc/{}/mounts", init.pid)], "").await?;
    let root =
        mounts.lines().rfind(|line| line.split(' ').nth(1) == Some("/")).context("no root is mounted")?;
    let options = root.split(' ').nth(3).unwrap_or_default();
    ensure!(options.split(',').any(|option| option == "ro"), "the root can be written to: {root}");
    Ok(())
}

fn object() -> ConfigMap {
    serde_json::from_value(serde_json::json!({
        "metadata": { "name": "survivor", "namespace": "default" },
        "data": { "written": "before the power cut" },
    }))
    .expect("a config map")
}

async fn write_object(client: &Client) -> Result<()> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    api.create(&PostParams::default(), &object()).await.context("failed to write an object").map(drop)
}

async fn object_is_there(client: &Client, console: &Console) -> Result<()> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let found = eventually!("the object is read", ANSWER_LIMIT, Some(console), async {
        api.get("survivor").await.map(Some)
    })?;
    ensure!(found.data == object().data, "the object has changed: {:?}", found.data);
    Ok(())
}

async fn every_killed_service_comes_back(bench: &Bench, client: &Client, console: &Console) -> Result<()> {
    for (service, _) in SERVICES {
        restart(bench, service, console).await?;
        bench.step(&format!("{service} killed and back"));
    }
    eventually!("the API answers again", RESTART_LIMIT, Some(console), async {
        client.request_text(http_get("/readyz")?).await.map(|_| Some(())).map_err(anyhow::Error::from)
    })?;
    object_is_there(client, console).await
}

/// Kills a service and waits until another process of it is ready.
async fn restart(bench: &Bench, service: &str, console: &Console) -> Result<()> {
    let before = bench.machine.processes(&bench.net).await?;
    let victim = before.iter().find(|process| process.program == service);
    let victim = victim.with_context(|| format!("{service} does not run: {before:?}"))?;
    let mut lines = console.follow();
    lines.lines();
    bench.machine.signal(&bench.net, victim, "KILL").await?;
    let (killed, ready) = (format!("{service}: killed by SIGKILL"), format!("{service}: ready after"));
    let mut seen = Vec::new();
    eventually!(format!("{service} is back"), RESTART_LIMIT, Some(console), async {
        seen.extend(lines.lines());
        let at = |text: &str| seen.iter().position(|line| line.contains(text));
        let back = at(&killed).zip(at(&ready)).is_some_and(|(killed, ready)| killed < ready);
        Ok::<_, anyhow::Error>(back.then_some(()))
    })?;
    let after = bench.machine.processes(&bench.net).await?;
    let heirs: Vec<_> = after.iter().filter(|process| process.program == service).collect();
    ensure!(heirs.len() == 1 && heirs[0].pid != victim.pid, "after the restart of {service}: {heirs:?}");
    Ok(())
}

/// Where the console first says so.
fn at(console: &Console, text: &str) -> Result<usize> {
    let lines = console.follow().lines();
    let found = lines.iter().position(|line| line.contains(text));
    found.with_context(|| format!("the console does not say {text:?}"))
}

/// A rack that is switched on together with the plane is quicker than the API server.
fn boot_services_come_first(console: &Console) -> Result<()> {
    let (first, then) = (at(console, "bootsvc: ready after")?, at(console, "kube-apiserver: ready after")?);
    ensure!(first < then, "the boot services waited for the API server");
    Ok(())
}

fn stopped_in_order(console: &Console) -> Result<()> {
    for (service, dependent) in STOPS_AFTER {
        let first = at(console, &format!("{dependent}: stopped"))?;
        let then = at(console, &format!("{service}: stopping"))?;
        ensure!(first < then, "{service} was stopped before {dependent}");
    }
    Ok(())
}
