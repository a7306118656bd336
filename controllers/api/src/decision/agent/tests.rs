//! Who is told to wipe: almost nobody.

use proptest::prelude::*;

use super::*;
use crate::server::{Bmc, ServerSpec, ServerStatus};
use crate::server_binding::ServerBindingSpec;

const OPTIONS: AgentOptions = AgentOptions { auto_bmc_setup: true, insecure_wipe: true };
const WIPES: Capabilities = Capabilities { wipe: true };

fn server(accepted: bool, in_use: bool, is_clean: bool) -> Server {
    let mut server = Server::new("a", ServerSpec { accepted, ..ServerSpec::default() });
    server.status = Some(ServerStatus { in_use, is_clean, ..ServerStatus::default() });
    server
}

fn bound() -> ServerBinding {
    ServerBinding::new("a", ServerBindingSpec::default())
}

#[test]
fn orders_follow_standing_and_evidence() {
    use WipeOrder::{Refuse, Wipe};
    let binding = bound();
    let cases = [
        // accepted, in use, clean, bound, evidence
        ((false, false, false), None, Evidence::NeverUsed, Refuse(WipeRefusal::NotAccepted)),
        ((false, false, true), None, Evidence::Released, Refuse(WipeRefusal::NotAccepted)),
        ((true, false, false), None, Evidence::NeverUsed, Wipe),
        ((true, false, false), None, Evidence::Released, Wipe),
        ((true, false, false), None, Evidence::None, Refuse(WipeRefusal::NoEvidence)),
        ((true, false, true), None, Evidence::Released, Refuse(WipeRefusal::AlreadyClean)),
        ((true, true, false), None, Evidence::Released, Refuse(WipeRefusal::Claimed)),
        ((true, true, false), Some(&binding), Evidence::Released, Refuse(WipeRefusal::Claimed)),
        ((true, false, true), Some(&binding), Evidence::NeverUsed, Refuse(WipeRefusal::Claimed)),
    ];
    for ((accepted, in_use, clean), binding, evidence, expected) in cases {
        let orders = agent(&server(accepted, in_use, clean), binding, evidence, OPTIONS, WIPES);
        assert_eq!(orders.wipe, expected, "{accepted} {in_use} {clean} {evidence:?}");
        assert_eq!(orders.insecure_wipe, expected == Wipe);
    }
}

#[test]
fn this_release_wipes_nothing_and_says_so() {
    let orders = agent(&server(true, false, false), None, Evidence::Released, OPTIONS, Capabilities::CURRENT);
    assert_eq!(orders.wipe, WipeOrder::Refuse(WipeRefusal::NotSupported));
    assert_eq!(WipeRefusal::NotSupported.message(), "this release does not wipe machines");
}

#[test]
fn management_is_set_up_once_and_only_on_accepted_free_machines() {
    let setup = |server: &Server, binding: Option<&ServerBinding>, auto_bmc_setup| {
        let options = AgentOptions { auto_bmc_setup, ..OPTIONS };
        agent(server, binding, Evidence::None, options, WIPES).setup_bmc
    };
    let mut free = server(true, false, false);
    assert!(setup(&free, None, true));
    assert!(!setup(&free, None, false));
    assert!(!setup(&free, Some(&bound()), true));
    assert!(!setup(&server(false, false, false), None, true));
    free.spec.bmc = Some(Bmc::default());
    assert!(!setup(&free, None, true));
}

proptest! {
    #[test]
    fn wiping_needs_acceptance_freedom_and_evidence(
        accepted in any::<bool>(), in_use in any::<bool>(), clean in any::<bool>(), is_bound in any::<bool>(),
        status in any::<bool>(), able in any::<bool>(), which in 0..3_usize,
    ) {
        let evidence = [Evidence::None, Evidence::NeverUsed, Evidence::Released][which];
        let mut server = server(accepted, in_use, clean);
        if !status {
            server.status = None;
        }
        let binding = is_bound.then(bound);
        let orders = agent(&server, binding.as_ref(), evidence, OPTIONS, Capabilities { wipe: able });
        if orders.wipe == WipeOrder::Wipe {
            prop_assert!(accepted && !is_bound && able && evidence != Evidence::None);
            prop_assert!(!status || !(in_use || clean));
        }
    }
}
