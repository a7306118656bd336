//! Access to management controllers: taken from the boot that was told to set one up, and from nobody else.

use bloomery_agent_api as pb;
use bloomery_agent_api::agent_client::AgentClient;
use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::calls::client;
use super::mapping::UUID;
use super::wiping::{put, register, server};
use super::{events, with};
use crate::fake_api::binding;
use crate::http::tests::{Lab, Setup};

async fn report(
    agent: &mut AgentClient<Channel>,
    token: Option<&str>,
    (ip, port, user, pass): (&str, u32, &str, &str),
) -> Result<(), Status> {
    let (ip, user, pass) = (ip.to_owned(), user.to_owned(), pass.to_owned());
    let info = pb::BmcInfo { ip, port, user, pass, ..pb::BmcInfo::default() };
    let message = pb::UpdateBmcInfoRequest { uuid: UUID.to_owned(), bmc_info: Some(info) };
    agent.update_bmc_info(with(message, token)).await.map(|_| ())
}

fn secret(lab: &Lab) -> Option<Value> {
    lab.api.object(&format!("/api/v1/namespaces/default/secrets/{UUID}-bmc"))
}

fn bmc(lab: &Lab) -> Value {
    lab.api.object(&server()).unwrap()["spec"]["bmc"].clone()
}

/// The agent of a machine that waits for its controller to be set up, and its boot's token.
async fn told_to_set_up(lab: &Lab) -> (AgentClient<Channel>, Option<String>) {
    put(lab, "released");
    let token = lab.boot(UUID).await;
    let mut agent = client(lab).await;
    assert!(register(&mut agent, token.as_deref()).await.unwrap().setup_bmc);
    (agent, token)
}

#[tokio::test]
async fn address_and_account_come_one_after_the_other() {
    let lab = Lab::start(Setup::default());
    let (mut agent, token) = told_to_set_up(&lab).await;
    let token = token.as_deref();
    report(&mut agent, token, ("10.77.0.11", 6230, "", "")).await.unwrap();
    assert_eq!(bmc(&lab), json!({ "endpoint": "10.77.0.11", "port": 6230 }));
    report(&mut agent, token, ("", 0, "sidero", "s3cret")).await.unwrap();
    let source = |key| json!({ "secretKeyRef": { "namespace": "default", "name": format!("{UUID}-bmc"), "key": key } });
    assert_eq!(
        bmc(&lab),
        json!({ "endpoint": "10.77.0.11", "port": 6230, "userFrom": source("user"), "passFrom": source("pass") })
    );
    let secret = secret(&lab).unwrap();
    assert_eq!(secret["data"], json!({ "user": "c2lkZXJv", "pass": "czNjcmV0" }));
    assert_eq!(secret["metadata"]["labels"], json!({ "clusterctl.cluster.x-k8s.io/move": "" }));
    assert_eq!(
        secret["metadata"]["ownerReferences"],
        json!([{ "apiVersion": "metal.sidero.dev/v1alpha2", "blockOwnerDeletion": true, "controller": true,
            "kind": "Server", "name": UUID, "uid": format!("uid-of-{UUID}") }])
    );
    for event in events(&lab, 1).await {
        assert_eq!(
            (&event["reason"], &event["message"]),
            (&json!("BMC Update"), &json!("BMC info updated via API."))
        );
        assert!(!event.to_string().contains("s3cret"));
    }
    // The lost answer's repetition is fine, another account is not.
    let writes = lab.api.writes().len();
    report(&mut agent, token, ("", 0, "sidero", "s3cret")).await.unwrap();
    let late = report(&mut agent, token, ("10.66.6.6", 0, "", "")).await.unwrap_err();
    assert_eq!(late.code(), Code::FailedPrecondition);
    assert!(lab.api.writes()[writes..].iter().all(|(_, path)| path.contains("/events")));
}

#[tokio::test]
async fn a_set_up_that_broke_off_after_the_address_is_ordered_again_in_the_same_boot() {
    let lab = Lab::start(Setup::default());
    let (mut agent, token) = told_to_set_up(&lab).await;
    let token = token.as_deref();
    report(&mut agent, token, ("10.77.0.11", 0, "", "")).await.unwrap();
    // The controller did not take the password; without one nobody can switch the machine.
    assert!(register(&mut agent, token).await.unwrap().setup_bmc);
    report(&mut agent, token, ("10.77.0.11", 0, "", "")).await.unwrap();
    report(&mut agent, token, ("", 0, "sidero", "s3cret")).await.unwrap();
    assert!(!register(&mut agent, token).await.unwrap().setup_bmc);
    // Another boot, and what a person wrote, are left alone.
    lab.api.change(&server(), |server| server["spec"]["bmc"] = json!({ "endpoint": "10.0.0.1" }));
    assert!(!register(&mut agent, token).await.unwrap().setup_bmc);
    let token = lab.boot(UUID).await;
    assert!(!register(&mut agent, token.as_deref()).await.unwrap().setup_bmc);
}

#[tokio::test]
async fn a_stranger_an_unasked_agent_and_a_bound_machine_are_refused() {
    let lab = Lab::start(Setup::default());
    put(&lab, "released");
    let info = ("10.66.6.6", 0, "root", "evil");
    let mut agent = client(&lab).await;
    assert_eq!(report(&mut agent, None, info).await.unwrap_err().code(), Code::Unauthenticated);
    let other = lab.boot("5c5c5544-0042-3110-8051-b7c04f4e3332").await;
    assert_eq!(report(&mut agent, other.as_deref(), info).await.unwrap_err().code(), Code::Unauthenticated);
    let token = lab.boot(UUID).await;
    let token = token.as_deref();
    // Nobody told it to.
    assert_eq!(report(&mut agent, token, info).await.unwrap_err().code(), Code::FailedPrecondition);
    register(&mut agent, token).await.unwrap();
    lab.api.put(&binding(UUID), json!({ "spec": { "metalMachineRef": { "name": "m" } } }));
    assert_eq!(report(&mut agent, token, info).await.unwrap_err().code(), Code::FailedPrecondition);
    lab.api.delete(&binding(UUID));
    // A person named the controller meanwhile.
    lab.api.change(&server(), |server| server["spec"]["bmc"] = json!({ "endpoint": "10.0.0.1" }));
    let refused = loop {
        let refused = report(&mut agent, token, info).await.unwrap_err();
        if refused.code() != Code::ResourceExhausted {
            break refused;
        }
    };
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(bmc(&lab), json!({ "endpoint": "10.0.0.1" }));
    assert_eq!(secret(&lab), None);
}

#[tokio::test]
async fn nonsense_is_refused_and_a_flood_is_held_back() {
    let lab = Lab::start(Setup::default());
    put(&lab, "released");
    let token = lab.boot(UUID).await;
    let token = token.as_deref();
    let mut agent = client(&lab).await;
    register(&mut agent, token).await.unwrap();
    for info in
        [("127.0.0.1", 0, "", ""), ("0.0.0.0", 0, "", ""), ("bmc.example.com", 0, "", ""), ("", 0, "", "")]
    {
        let refused = report(&mut agent, token, info).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{info:?}");
    }
    let mut refused = 0;
    for _ in 0..100 {
        match report(&mut agent, token, ("10.77.0.11", 0, "", "")).await {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(error.code(), Code::ResourceExhausted);
                refused += 1;
            }
        }
    }
    assert!(refused >= 100 - 32, "{refused}");
}
