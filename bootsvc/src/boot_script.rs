//! The script that iPXE starts with (spec/sidero.md §3.3): finds a network that reaches us and
//! asks `/ipxe` what to do.
//!
//! It is written for every iPXE met in the field, the 2019 one in QEMU's card ROMs included
//! (notes of the netboot lab, section 7), so: no POST, no HTTPS, `ifconf --configurator dhcp`
//! because the plain `dhcp` command also waits 16 s for IPv6, and a lease that the firmware or
//! iPXE holds already is used before any other is asked for. When the plane cannot be reached
//! the machine's own disk is tried, as an installed node must not depend on us.

use crate::advertise::Endpoint;

/// Further passes over all interfaces after the first.
const RETRIES: u32 = 10;
/// Pause between passes, seconds: eleven of them outlast a restart of the Kubernetes API.
const PAUSE_SECONDS: u32 = 5;
/// Wait for a link, milliseconds.
const LINK_TIMEOUT_MS: u32 = 5000;
/// Wait for the link of a card that was in use a moment ago, milliseconds.
const LEASED_LINK_TIMEOUT_MS: u32 = 1000;
/// How long Ctrl-B is offered, milliseconds.
const PROMPT_MS: u32 = 2000;

/// The script that chains to `/ipxe` at `endpoint`.
pub fn render(endpoint: &Endpoint) -> String {
    [with_a_held_lease(endpoint), over_every_card(endpoint)].concat()
}

/// The command that asks, over this card.
fn ask(endpoint: &Endpoint, interface: &str) -> String {
    format!(
        "chain --replace http://{endpoint}/ipxe?uuid=${{uuid}}&mac=${{{interface}/mac:hexhyp}}\
         &domain=${{domain:uristring}}&hostname=${{hostname:uristring}}\
         &serial=${{serial:uristring}}&arch=${{buildarch}}&platform=${{platform}}&waits=yes"
    )
}

/// The beginning: asks over the card that has a lease already.
fn with_a_held_lease(endpoint: &Endpoint) -> String {
    let (ask_boot_nic, ask_this) = (ask(endpoint, "netX"), ask(endpoint, "net${i}"));
    format!(
        "#!ipxe

prompt --key 0x02 --timeout {PROMPT_MS} Press Ctrl-B for the iPXE command line && shell ||
set plane {endpoint}
set pass:int32 0

# A lease that the firmware or iPXE already holds is good enough.
isset ${{netX/ip}} && goto boot_nic ||
set i:int32 0
:find_lease
isset ${{net${{i}}/mac}} || goto all_nics
isset ${{net${{i}}/ip}} && goto leased ||
inc i
goto find_lease

:boot_nic
iflinkwait --timeout {LEASED_LINK_TIMEOUT_MS} netX && set has_linkwait yes ||
echo Asking ${{plane}} what to boot
{ask_boot_nic} || goto all_nics

:leased
ifopen net${{i}} || goto all_nics
iflinkwait --timeout {LEASED_LINK_TIMEOUT_MS} net${{i}} && set has_linkwait yes ||
echo Asking ${{plane}} what to boot, over net${{i}}
{ask_this} || goto all_nics

"
    )
}

/// A pass over all cards.
fn over_every_card(endpoint: &Endpoint) -> String {
    let (ask_this, or_again) = (ask(endpoint, "net${i}"), once_more("all_nics"));
    format!(
        ":all_nics
ifstat ||
set i:int32 0
:nic
isset ${{net${{i}}/mac}} || goto pass_done
ifclose ||
iflinkwait --timeout {LINK_TIMEOUT_MS} net${{i}} && goto link_up ||
# No link, or an iPXE without this command (before 2021); one success tells which.
isset ${{has_linkwait}} && goto next_nic ||
goto configure
:link_up
set has_linkwait yes
:configure
ifconf --configurator dhcp net${{i}} || goto next_nic
route ||
echo Asking ${{plane}} what to boot, over net${{i}}
{ask_this} || goto next_nic
:next_nic
inc i
goto nic

:pass_done
{or_again}"
    )
}

/// What a machine does while the plane at `endpoint` starts: says so on its screen and asks `query` again. The plane
/// decides how long; once it does not answer any more, the machine goes the way of one that got no answer.
pub fn wait(endpoint: &Endpoint, query: &str) -> String {
    let or_again = once_more("ask");
    format!(
        "#!ipxe

set plane {endpoint}
set pass:int32 0
echo The plane ${{plane}} is starting and cannot say yet what to boot. This machine waits for it.
sleep {PAUSE_SECONDS}
:ask
chain --replace http://{endpoint}/ipxe?{query} ||
{or_again}"
    )
}

/// Goes on at `label` after a pause. After the last pass the plane cannot be reached: the machine's own disk is tried.
fn once_more(label: &str) -> String {
    format!(
        "iseq ${{pass}} {RETRIES} && goto give_up ||
inc pass
echo No answer from ${{plane}}, retry ${{pass}} of {RETRIES}
sleep {PAUSE_SECONDS}
goto {label}

:give_up
echo No answer from ${{plane}}: trying the first disk, then starting over
sanboot --no-describe --drive 0x80 ||
# An iPXE from before 2021 cannot boot a disk on UEFI: the firmware's next device is the way.
isset ${{has_linkwait}} && goto start_over ||
iseq ${{platform}} efi && exit 1 ||
:start_over
sleep {PAUSE_SECONDS}
reboot
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// iPXE reads a script line by line; TFTP and old builds want it small (upstream's limit
    /// was its 1,017-octet slot, ours is one page so that it never needs two TFTP windows).
    const MAX_SCRIPT_LEN: usize = 4096;

    fn script(host: &str) -> String {
        render(&Endpoint::parse(host, 8081).unwrap())
    }

    fn wait_script() -> String {
        wait(&Endpoint::parse("10.77.0.3", 8081).unwrap(), "uuid=x&mac=52-54-00-77-00-01&waits=yes")
    }

    #[test]
    fn wait_script_as_served() {
        insta::assert_snapshot!(wait_script());
    }

    #[test]
    fn script_as_served() {
        insta::assert_snapshot!(script("10.77.0.3"));
    }

    #[test]
    fn every_jump_has_its_label() {
        jumps_are_good(&wait_script(), 2);
        jumps_are_good(&script("plane.example.com"), 9);
    }

    fn jumps_are_good(script: &str, least: usize) {
        let labels: Vec<&str> = script.lines().filter_map(|line| line.strip_prefix(':')).collect();
        let mut jumps = 0;
        for jump in script.split("goto ").skip(1) {
            let target = jump.split_whitespace().next().unwrap();
            assert!(labels.contains(&target), "no label {target}");
            jumps += 1;
        }
        assert!(jumps >= least, "{jumps}");
    }

    #[test]
    fn a_failing_command_never_ends_the_script() {
        // iPXE stops at the first failure that no `||` follows.
        let harmless = ["#", ":", "set ", "inc ", "goto ", "echo ", "sleep ", "reboot"];
        for line in (script("10.77.0.3") + &wait_script()).lines().filter(|line| !line.is_empty()) {
            assert!(line.contains("||") || harmless.iter().any(|start| line.starts_with(start)), "{line}");
        }
    }

    #[test]
    fn stays_small_with_the_longest_host_name() {
        let label = "a".repeat(63);
        let host = [label.as_str(); 4].join(".")[..253].to_owned();
        assert!(script(&host).len() < MAX_SCRIPT_LEN);
    }
}
