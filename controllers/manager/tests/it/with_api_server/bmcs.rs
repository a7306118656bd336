//! The Server controller with a real API server and Redfish services: whose BMC it is, and whether it is still the same.

use bloomery_api::Server;
use bloomery_api::condition::{self, Condition, ConditionStatus};
use bloomery_api::server::POWER_REACHABLE;
use kube::ResourceExt;
use kube::api::PostParams;
use serde_json::json;

use crate::support::bench::{Bench, registered};
use crate::support::mock::{Certificate, Mock, ONE, OTHER, Reply, Request, UUID, ordinary, system};
use bloomery_testkit::eventually;

const PIN: &str = "bloomery.dev/bmc-certificate";
const GUID: &str = "bloomery.dev/bmc-uuid";

/// A BMC whose System tells this UUID and boots from the network next.
async fn bmc(certificate: Certificate, uuid: &'static str) -> Mock {
    const SYSTEM: &str = "/redfish/v1/Systems/1";
    const BOOT: &str = r#""Boot":{"BootSourceOverrideEnabled":"Once","BootSourceOverrideTarget":"Pxe"},"#;
    Mock::with(vec![certificate], move |request: &Request| {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/redfish/v1/Systems") => Reply::new(200, ONE),
            ("GET", SYSTEM) => Reply::new(200, system(SYSTEM, uuid, BOOT)),
            ("PATCH", SYSTEM) => Reply::new(200, ""),
            _ => ordinary(request),
        }
    })
    .await
}

async fn server(bench: &Bench, mock: &Mock) {
    let mut server = registered(UUID);
    let bmc =
        json!({ "endpoint": mock.origin.to_string(), "user": "u", "pass": "p", "interface": "redfish" });
    server.spec.bmc = Some(serde_json::from_value(bmc).unwrap());
    bench.all::<Server>().create(&PostParams::default(), &server).await.unwrap();
}

/// Waits until `PowerReachable` has that status and reason.
async fn reachable(bench: &Bench, status: ConditionStatus, reason: &str) -> (Server, Condition) {
    eventually("the condition is there", async || {
        let server = bench.all::<Server>().get(UUID).await.map_err(|error| error.to_string())?;
        let conditions = server.status.as_ref().map_or(&[][..], |status| &status.conditions);
        match condition::find(conditions, POWER_REACHABLE).cloned() {
            Some(found) if found.status == status && found.reason == reason => Ok((server, found)),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_certificate_is_pinned_and_another_is_an_alarm_until_a_person_accepts_it() {
    let (bench, _controllers) = Bench::with_controllers().await;
    let (own, foreign) = (Certificate::new(), Certificate::new());
    let (pin, other) = (own.pin.to_string(), foreign.pin.to_string());
    let (first, second) = (bmc(own, UUID).await, bmc(foreign, UUID).await);
    server(&bench, &first).await;
    let (found, _) = reachable(&bench, ConditionStatus::True, "").await;
    assert_eq!(found.annotations().get(PIN), Some(&pin));

    let moved = json!({ "spec": { "bmc": { "endpoint": second.origin.to_string() } } });
    bench.patch::<Server>(UUID, moved).await;
    let (_, alarm) = reachable(&bench, ConditionStatus::False, "CertificateChanged").await;
    let command = format!("kubectl annotate --overwrite server {UUID} {PIN}={other}");
    assert!(alarm.message.ends_with(&command), "{}", alarm.message);
    assert!(second.requests().is_empty(), "nothing was said to it: {:?}", second.requests());

    bench.patch::<Server>(UUID, json!({ "metadata": { "annotations": { PIN: other } } })).await;
    reachable(&bench, ConditionStatus::True, "").await;
    bench.patch::<Server>(UUID, json!({ "metadata": { "annotations": { PIN: "sha256:none" } } })).await;
    let (_, unread) = reachable(&bench, ConditionStatus::False, "PowerCommandFailed").await;
    assert!(unread.message.contains(PIN), "{}", unread.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bmc_of_another_machine_is_told_nothing_until_a_person_says_otherwise() {
    let (bench, _controllers) = Bench::with_controllers().await;
    let foreign = bmc(Certificate::new(), OTHER).await;
    server(&bench, &foreign).await;
    bench.patch::<Server>(UUID, json!({ "spec": { "accepted": true } })).await;
    let (_, refused) = reachable(&bench, ConditionStatus::False, "OtherMachine").await;
    let command = format!("kubectl annotate --overwrite server {UUID} {GUID}={OTHER}");
    assert!(refused.message.ends_with(&command), "{}", refused.message);
    assert!(foreign.changes().is_empty(), "{:?}", foreign.changes());

    // Once the other machine is known, the command that would give it away is not shown.
    let mut other = registered(OTHER);
    other.spec.accepted = true;
    bench.all::<Server>().create(&PostParams::default(), &other).await.unwrap();
    // A change has it looked at again now, and not with the next round.
    bench.patch::<Server>(UUID, json!({ "spec": { "hostname": "host-2" } })).await;
    eventually("the other Server is named", async || {
        let (_, refused) = reachable(&bench, ConditionStatus::False, "OtherMachine").await;
        let named = refused.message.contains(&format!("Server {OTHER}")) && !refused.message.contains(GUID);
        if named { Ok(()) } else { Err(refused.message) }
    })
    .await;
    bench.patch::<Server>(UUID, json!({ "metadata": { "annotations": { GUID: OTHER } } })).await;
    reachable(&bench, ConditionStatus::True, "").await;
}
