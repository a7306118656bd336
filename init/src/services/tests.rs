//! The declarations as they are started, under snapshot.

use super::*;
use crate::supervise::graph;
use crate::supervise::limits::{Limits, MemoryLimit};
use crate::supervise::service::Hold;
use std::fmt::Write as _;

fn inputs<'a>(layout: &'a Layout, config: &'a Config, address: Option<IpAddr>) -> Inputs<'a> {
    let encryption_key = Some("key-0123456789abcdef".to_owned());
    Inputs {
        layout,
        accounts: Accounts::Separate,
        config,
        address,
        encryption_key,
        memory: 1 << 30,
        cpus: 2,
        etcd_reserve: false,
        generation: 0,
    }
}

/// One service as a person would read it.
fn show(service: &Service) -> String {
    let mut text = String::new();
    let user = service.user.map_or_else(|| "-".to_owned(), |user| format!("{} ({})", user.name, user.uid));
    writeln!(text, "user: {user}, capabilities: {:?}", service.capabilities).unwrap();
    let Limits { open_files, memory: MemoryLimit { percent, floor_mib }, oom_score_adj } = service.limits;
    writeln!(
        text,
        "files: {open_files}, memory: {percent} % or {floor_mib} MiB, out-of-memory score: {oom_score_adj}"
    )
    .unwrap();
    writeln!(text, "after: {:?}", service.after).unwrap();
    if !service.waits_itself_for.is_empty() {
        writeln!(text, "waits itself for: {:?}", service.waits_itself_for).unwrap();
    }
    writeln!(text, "ready: {:?}", service.probe).unwrap();
    writeln!(text, "kind: {:?}", service.policy.kind).unwrap();
    for (name, value) in &service.env {
        writeln!(text, "env: {name}={value}").unwrap();
    }
    writeln!(text, "{}", service.program.display()).unwrap();
    for argument in &service.args {
        writeln!(text, "  {argument}").unwrap();
    }
    if let Some(file) = &service.file {
        write!(text, "{}\n{}", file.path.display(), file.text).unwrap();
    }
    text
}

#[test]
fn every_child_is_started_exactly_so() {
    let (layout, config) = (Layout::system(), Config::default());
    for service in all(&inputs(&layout, &config, Some("192.0.2.7".parse().unwrap()))) {
        insta::assert_snapshot!(service.name, show(&service));
    }
}

#[test]
fn the_declarations_can_be_ordered() {
    let (layout, config) = (Layout::system(), Config::default());
    let services = all(&inputs(&layout, &config, None));
    let declared: Vec<_> = services.iter().map(|service| (service.name, service.after)).collect();
    insta::assert_yaml_snapshot!("order", graph::order(&declared).unwrap());
}

#[test]
fn no_two_services_share_a_user_and_none_is_root() {
    let (layout, config) = (Layout::system(), Config::default());
    let mut uids: Vec<u32> = all(&inputs(&layout, &config, None))
        .iter()
        .map(|service| service.user.expect("a user of its own").uid)
        .collect();
    assert!(uids.iter().all(|uid| *uid > 100));
    uids.sort_unstable();
    uids.dedup();
    assert_eq!(uids.len(), 9);
}

#[test]
fn every_option_reaches_the_boot_services_and_the_controllers() {
    let layout = Layout::system();
    let config = Config::parse(
        "advertisedEndpoint: plane.example.org\nsidero: {autoAcceptServers: true, autoAcceptNonEmpty: true, \
         bootFromDiskMethod: http-404, extraAgentKernelArgs: a=b c, disableDhcpProxy: true, httpPort: 9000}\n",
    )
    .unwrap();
    let services = all(&inputs(&layout, &config, Some("192.0.2.7".parse().unwrap())));
    // What is in the file is shown in `config/tests/service_options.rs`. Both judge what acceptance covers: told
    // differently, one accepts what the other never commands.
    for name in ["bootsvc", "controllers", "siderolink"] {
        let service = services.iter().find(|service| service.name == name).unwrap();
        let File { path, text } = service.file.as_ref().unwrap();
        assert!(
            service.args.contains(&format!("--options={}", path.display())),
            "{name}: {:?}",
            service.args
        );
        assert_eq!(*text, ServiceOptions::of(&config, None).to_json(), "{name}");
    }
}

#[test]
fn only_services_that_tell_machines_the_address_change_with_it() {
    let (layout, config) = (Layout::system(), Config::default());
    let before = all(&inputs(&layout, &config, None));
    let after = all(&inputs(&layout, &config, Some("192.0.2.7".parse().unwrap())));
    let changed: Vec<_> = before
        .iter()
        .zip(&after)
        .filter(|(before, after)| before != after)
        .map(|(_, after)| after.name)
        .collect();
    assert_eq!(changed, ["controllers", "bootsvc", "siderolink"]);
}

#[test]
fn boot_services_are_killed_first_and_etcd_last() {
    let (layout, config) = (Layout::system(), Config::default());
    let mut services = all(&inputs(&layout, &config, None));
    services.sort_by_key(|service| std::cmp::Reverse(service.limits.oom_score_adj));
    let names: Vec<_> = services.iter().map(|service| service.name).collect();
    assert_eq!(names.first(), Some(&"bootsvc"));
    assert_eq!(names[names.len() - 2..], ["kube-apiserver", "etcd"]);
    // −1000 is PID 1's alone.
    assert!(services.iter().all(|service| service.limits.oom_score_adj > -1000));
}

#[test]
fn limits_fit_the_smallest_appliance_and_grow_with_the_machine() {
    // MiB that each used with 5,000 machines, rounded up generously (DESIGN.md §8).
    let used = [("etcd", 320), ("kube-apiserver", 400), ("controllers", 160), ("bootsvc", 128)];
    let (layout, config) = (Layout::system(), Config::default());
    for service in all(&inputs(&layout, &config, None)) {
        let Limits { open_files, memory, .. } = service.limits;
        assert_eq!(open_files, 65_536, "{}", service.name);
        let (small, large) = (memory.max(1 << 30) >> 20, memory.max(64 << 30) >> 20);
        assert!(small < 700, "{} may use {small} MiB of 1 GiB", service.name);
        assert!(large > 8 * small, "{}: {small} and {large} MiB", service.name);
        if let Some((_, used)) = used.iter().find(|(name, _)| *name == service.name) {
            assert!(small > *used, "{} needs {used} of {small} MiB", service.name);
        }
    }
}

#[test]
fn administrators_may_hold_what_they_can_start_again() {
    let (layout, config) = (Layout::system(), Config::default());
    let services = all(&inputs(&layout, &config, None));
    let table = services.iter().map(|service| match service.hold {
        Hold::Allowed => format!("{}: may be held", service.name),
        Hold::Refused(reason) => format!("{} cannot be held: {reason}", service.name),
    });
    insta::assert_snapshot!("hold", table.collect::<Vec<_>>().join("\n"));
}

#[test]
fn the_reserve_is_a_larger_quota_and_nothing_else() {
    let (layout, config) = (Layout::system(), Config::default());
    let usual = all(&inputs(&layout, &config, None));
    let reserve = all(&Inputs { etcd_reserve: true, ..inputs(&layout, &config, None) });
    let changed: Vec<_> = usual.iter().zip(&reserve).filter(|(usual, reserve)| usual != reserve).collect();
    assert_eq!(changed.len(), 1);
    let (usual, reserve) = changed[0];
    let new: Vec<_> = reserve.args.iter().filter(|argument| !usual.args.contains(argument)).collect();
    assert_eq!(new, ["--quota-backend-bytes=1342177280"]);
}

#[test]
fn the_api_servers_heap_follows_the_machines_memory() {
    let (layout, config) = (Layout::system(), Config::default());
    for (gib, limit) in [(1, "220MiB"), (2, "430MiB"), (24, "512MiB")] {
        let services = all(&Inputs { memory: gib << 30, ..inputs(&layout, &config, None) });
        let server = services.iter().find(|service| service.name == "kube-apiserver").unwrap();
        assert_eq!(server.env.get("GOMEMLIMIT").map(String::as_str), Some(limit), "{gib} GiB");
    }
}

#[test]
fn cluster_api_does_as_much_at_once_as_there_are_processors() {
    let (layout, config) = (Layout::system(), Config::default());
    for (cpus, concurrency) in [(1, 2), (4, 4), (64, 10)] {
        let services = all(&Inputs { cpus, ..inputs(&layout, &config, None) });
        let manager = services.iter().find(|service| service.name == "cluster-api").unwrap();
        let wanted = format!("--concurrency={concurrency}");
        assert!(manager.args.contains(&wanted), "{cpus} processors: {:?}", manager.args);
    }
}
