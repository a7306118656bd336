//! Kernel arguments that machines are started with (spec/sidero.md §3.4): pure functions on lists.

use std::net::IpAddr;

use bloomery_agent_api::{PLANE_ARGUMENT, TOKEN_ARGUMENT};
use bloomery_api::arch::Arch;
use bloomery_api::environment::{INITRD_FILE, TALOS_ARGS};
use bloomery_api::siderolink;

use crate::advertise::Endpoint;

/// Consoles of the agent: the screen, and the first serial port of x86 or of arm64 server firmware.
const CONSOLES: [&str; 2] = ["console=tty0", "console=ttyS0"];
/// Seconds until a machine whose agent's kernel crashed starts over.
const PANIC: &str = "panic=30";
/// Where the node system finds its configuration.
const CONFIG_ARGUMENT: &str = "talos.config";
/// Path of the configuration.
pub const CONFIG_PATH: &str = "/configdata";
/// Key of its query: the Server.
pub const UUID_KEY: &str = "uuid";
/// Key of its query: the token of the boot.
pub const TOKEN_KEY: &str = "token";

/// Arguments of the agent. `extra` is `--extra-agent-kernel-args`: each of its keys replaces all
/// values of that key where they stand, or is appended. `token` ties the agent to this boot, and `plane` is the
/// fingerprint of the key that it seals accounts to.
pub fn agent(
    arch: Arch,
    mac: Option<&str>,
    endpoint: &Endpoint,
    (token, plane): (Option<&str>, Option<&str>),
    extra: &str,
) -> Vec<String> {
    let mut args: Vec<String> = TALOS_ARGS.into_iter().chain(CONSOLES).map(str::to_owned).collect();
    args.push(format!("initrd={INITRD_FILE}"));
    args.push(PANIC.to_owned());
    if let Some(mac) = mac {
        args.push(format!("sidero.mac={mac}"));
    }
    args.push(format!("sidero.endpoint={endpoint}"));
    if let Some(token) = token {
        args.push(format!("{TOKEN_ARGUMENT}={token}"));
    }
    if let Some(plane) = plane {
        args.push(format!("{PLANE_ARGUMENT}={plane}"));
    }
    match arch {
        // One list for both, as upstream has it.
        Arch::Amd64 | Arch::Arm64 => override_keys(args, extra),
    }
}

/// What the arguments of a real Environment tell of besides it.
#[derive(Debug, Clone, Copy)]
pub struct NodeArgs<'a> {
    /// Where the machine reaches the plane.
    pub endpoint: &'a Endpoint,
    /// The Server and the token of this boot; without them any client gets the configuration, as upstream has it.
    pub grant: Option<(&'a str, &'a str)>,
    /// The plane's address in its own network, once that is known.
    pub link: Option<IpAddr>,
}

/// Arguments of a real Environment: its own, then where the node finds its configuration, its management tunnel, and who
/// wants its log and its events, unless it says so itself. Without a token the UUID is left empty for Talos to fill in.
pub fn environment(own: &[String], node: &NodeArgs<'_>) -> Vec<String> {
    let NodeArgs { endpoint, grant, link } = *node;
    let mut args: Vec<String> = own.iter().map(|arg| granted(arg, endpoint, grant)).collect();
    let config = match grant {
        Some((server, token)) => format!("{server}&{TOKEN_KEY}={token}"),
        None => String::new(),
    };
    let api = endpoint.to_string();
    let mut added = vec![(CONFIG_ARGUMENT, format!("http://{endpoint}{CONFIG_PATH}?{UUID_KEY}={config}"))];
    match link {
        Some(link) => added.extend(siderolink::kernel_arguments(&api, link)),
        None => added.push((siderolink::API_ARGUMENT, api)),
    }
    for (key, value) in added {
        if !args.iter().any(|arg| key_of(arg) == key && arg.contains('=')) {
            args.push(format!("{key}={value}"));
        }
    }
    args
}

/// An argument of the Environment's own. One that names our own address for the configuration, as upstream's documentation
/// has it, gets the token: it would be of no use without. Another address never does.
fn granted(arg: &str, endpoint: &Endpoint, grant: Option<(&str, &str)>) -> String {
    let (Some((_, token)), Some((CONFIG_ARGUMENT, url))) = (grant, arg.split_once('=')) else {
        return arg.to_owned();
    };
    let ours = url.strip_prefix(&format!("http://{endpoint}{CONFIG_PATH}?"));
    match ours {
        Some(query) if form_urlencoded::parse(query.as_bytes()).all(|(key, _)| key != TOKEN_KEY) => {
            format!("{arg}&{TOKEN_KEY}={token}")
        }
        Some(_) | None => arg.to_owned(),
    }
}

fn key_of(arg: &str) -> &str {
    arg.split_once('=').map_or(arg, |(key, _)| key)
}

fn override_keys(args: Vec<String>, extra: &str) -> Vec<String> {
    let extra: Vec<&str> = extra.split_whitespace().collect();
    let mut result: Vec<String> = Vec::with_capacity(args.len() + extra.len());
    let mut placed: Vec<&str> = Vec::new();
    for arg in args {
        let key = key_of(&arg);
        let mut values = extra.iter().filter(|candidate| key_of(candidate) == key).peekable();
        let Some(first) = values.peek() else {
            result.push(arg);
            continue;
        };
        if !placed.contains(&key_of(first)) {
            placed.push(key_of(first));
            result.extend(values.map(|value| (*value).to_owned()));
        }
    }
    result.extend(extra.iter().filter(|arg| !placed.contains(&key_of(arg))).map(|arg| (*arg).to_owned()));
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint::parse("10.77.0.3", 8081).unwrap()
    }

    fn agent_args(extra: &str) -> String {
        agent(Arch::Amd64, Some("52:54:00:77:00:01"), &endpoint(), (None, None), extra).join(" ")
    }

    #[test]
    fn agent_arguments_in_order() {
        insta::assert_snapshot!(agent_args(""));
    }

    #[test]
    fn extra_arguments_replace_their_key_in_place_or_come_last() {
        assert!(agent_args("console=ttyS1,115200n8").contains(" console=ttyS1,115200n8 initrd="));
        assert!(!agent_args("console=ttyS1").contains("tty0"));
        assert!(
            agent_args("console=ttyS1 a=1 console=ttyS2").contains(" console=ttyS1 console=ttyS2 initrd=")
        );
        assert!(agent_args("a=1 quiet a=2").ends_with("sidero.endpoint=10.77.0.3:8081 a=1 quiet a=2"));
        assert!(agent_args("slab_nomerge=off").contains("init_on_alloc=1 slab_nomerge=off pti=on"));
        assert!(agent_args("sidero.mac=x").contains("sidero.mac=x sidero.endpoint"));
    }

    #[test]
    fn a_machine_without_known_address_gets_no_empty_argument() {
        let args = agent(Arch::Arm64, None, &endpoint(), (None, None), "");
        assert!(args.iter().all(|arg| !arg.starts_with("sidero.mac")), "{args:?}");
    }

    #[test]
    fn the_token_stands_before_what_was_added_unless_that_names_it() {
        let with =
            |extra| agent(Arch::Amd64, None, &endpoint(), (Some("TOKEN"), Some("PLANE")), extra).join(" ");
        assert!(
            with("quiet")
                .ends_with(" sidero.endpoint=10.77.0.3:8081 bloomery.token=TOKEN bloomery.plane=PLANE quiet")
        );
        assert!(
            with("bloomery.token=x")
                .ends_with(" sidero.endpoint=10.77.0.3:8081 bloomery.token=x bloomery.plane=PLANE")
        );
    }

    fn node_args(own: &[&str], grant: Option<(&str, &str)>, link: Option<&str>) -> Vec<String> {
        let own: Vec<String> = own.iter().map(|arg| (*arg).to_owned()).collect();
        let link = link.map(|link| link.parse().unwrap());
        environment(&own, &NodeArgs { endpoint: &endpoint(), grant, link })
    }

    #[test]
    fn an_environments_own_arguments_are_left_alone() {
        assert_eq!(
            node_args(&["console=tty0", "talos.config=metal-iso", "siderolink.apix=1"], None, None),
            ["console=tty0", "talos.config=metal-iso", "siderolink.apix=1", "siderolink.api=10.77.0.3:8081"]
        );
        assert_eq!(
            node_args(&[], None, None),
            ["talos.config=http://10.77.0.3:8081/configdata?uuid=", "siderolink.api=10.77.0.3:8081"]
        );
        assert_eq!(
            node_args(&["talos.events.sink=10.0.0.9:1"], None, Some("fd00::1")),
            [
                "talos.events.sink=10.0.0.9:1",
                "talos.config=http://10.77.0.3:8081/configdata?uuid=",
                "siderolink.api=10.77.0.3:8081",
                "talos.logging.kernel=tcp://[fd00::1]:4001",
            ]
        );
    }

    #[test]
    fn the_token_of_a_boot_goes_to_this_plane_and_nowhere_else() {
        let grant = Some(("u-1", "TOKEN"));
        assert_eq!(
            node_args(&[], grant, Some("fd00::1")),
            [
                "talos.config=http://10.77.0.3:8081/configdata?uuid=u-1&token=TOKEN",
                "siderolink.api=10.77.0.3:8081",
                "talos.logging.kernel=tcp://[fd00::1]:4001",
                "talos.events.sink=[fd00::1]:4002",
            ]
        );
        let own = "talos.config=http://10.77.0.3:8081/configdata?uuid=";
        for (arg, expected) in [
            (own, format!("{own}&token=TOKEN")),
            ("talos.config=http://10.77.0.3:8081/configdata?uuid=&token=x", format!("{own}&token=x")),
            ("talos.config=http://10.77.0.9:8081/configdata?uuid=", String::new()),
            ("talos.config=http://10.77.0.3:8081.example.com/configdata?uuid=", String::new()),
            ("talos.config=http://10.77.0.3:8081/other?uuid=", String::new()),
            ("talos.config=metal-iso", String::new()),
        ] {
            let expected = if expected.is_empty() { arg.to_owned() } else { expected };
            assert_eq!(node_args(&[arg], grant, None)[0], expected);
        }
    }
}
