//! Access to management controllers: taken from the boot that was told to set one up, and from nobody else.

use bloomery_agent_api as pb;
use serde_json::{Value, json};
use tonic::{Code, Status};

use super::calls::{Caller, client};
use super::mapping::UUID;
use super::wiping::{put, register, server, told_to_wipe};
use super::{events, with};
use crate::http::tests::{Lab, Setup};
use crate::tests::fake_api::binding;

fn info((ip, port, user, pass): (&str, u32, &str, &str)) -> pb::BmcInfo {
    let (ip, user, pass) = (ip.to_owned(), user.to_owned(), pass.to_owned());
    pb::BmcInfo { ip, port, user, pass, ..pb::BmcInfo::default() }
}

/// The plane's key that accounts are sealed to, once it is made.
fn plane_key(lab: &Lab) -> Option<pb::seal::PlaneKey> {
    let secret = lab.api.object("/api/v1/namespaces/default/secrets/bloomery-agent-token")?;
    let octets = data_encoding::BASE64.decode(secret["data"]["sealing-key"].as_str()?.as_bytes()).unwrap();
    let public = pb::seal::public_key(&octets.try_into().unwrap());
    pb::seal::PlaneKey::verified(&public, &pb::seal::fingerprint(&public)).ok()
}

/// Reports as our agent does: sealed.
async fn report(
    lab: &Lab,
    agent: &mut Caller,
    token: Option<&str>,
    said: (&str, u32, &str, &str),
) -> Result<(), Status> {
    let plain = info(said);
    let info = plane_key(lab).map_or_else(|| plain.clone(), |key| key.seal(UUID, &plain).unwrap());
    send(agent, token, info).await
}

async fn send(agent: &mut Caller, token: Option<&str>, info: pb::BmcInfo) -> Result<(), Status> {
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
async fn told_to_set_up() -> (Lab, Caller, Option<String>) {
    let lab = Lab::start(Setup::default());
    put(&lab, "released");
    let token = lab.boot(UUID).await;
    let mut agent = client(&lab).await;
    assert!(register(&mut agent, token.as_deref()).await.unwrap().setup_bmc);
    (lab, agent, token)
}

#[tokio::test]
async fn address_and_account_come_one_after_the_other() {
    let (lab, mut agent, token) = told_to_set_up().await;
    let token = token.as_deref();
    report(&lab, &mut agent, token, ("10.77.0.11", 6230, "", "")).await.unwrap();
    assert_eq!(bmc(&lab), json!({ "endpoint": "10.77.0.11", "port": 6230 }));
    report(&lab, &mut agent, token, ("", 0, "sidero", "s3cret")).await.unwrap();
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
    report(&lab, &mut agent, token, ("", 0, "sidero", "s3cret")).await.unwrap();
    let late = report(&lab, &mut agent, token, ("10.66.6.6", 0, "", "")).await.unwrap_err();
    assert_eq!(late.code(), Code::FailedPrecondition);
    assert!(lab.api.writes()[writes..].iter().all(|(_, path)| path.contains("/events")));
}

#[tokio::test]
async fn a_set_up_that_broke_off_after_the_address_is_ordered_again_in_the_same_boot() {
    let (lab, mut agent, token) = told_to_set_up().await;
    let token = token.as_deref();
    report(&lab, &mut agent, token, ("10.77.0.11", 0, "", "")).await.unwrap();
    // The controller did not take the password; without one nobody can switch the machine.
    assert!(register(&mut agent, token).await.unwrap().setup_bmc);
    report(&lab, &mut agent, token, ("10.77.0.11", 0, "", "")).await.unwrap();
    report(&lab, &mut agent, token, ("", 0, "sidero", "s3cret")).await.unwrap();
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
    assert_eq!(report(&lab, &mut agent, None, info).await.unwrap_err().code(), Code::Unauthenticated);
    let other = lab.boot("5c5c5544-0042-3110-8051-b7c04f4e3332").await;
    assert_eq!(
        report(&lab, &mut agent, other.as_deref(), info).await.unwrap_err().code(),
        Code::Unauthenticated
    );
    let token = lab.boot(UUID).await;
    let token = token.as_deref();
    // Nobody told it to.
    assert_eq!(report(&lab, &mut agent, token, info).await.unwrap_err().code(), Code::FailedPrecondition);
    register(&mut agent, token).await.unwrap();
    lab.api.put(&binding(UUID), json!({ "spec": { "metalMachineRef": { "name": "m" } } }));
    assert_eq!(report(&lab, &mut agent, token, info).await.unwrap_err().code(), Code::FailedPrecondition);
    lab.api.delete(&binding(UUID));
    // A person named the controller meanwhile.
    lab.api.change(&server(), |server| server["spec"]["bmc"] = json!({ "endpoint": "10.0.0.1" }));
    let refused = loop {
        let refused = report(&lab, &mut agent, token, info).await.unwrap_err();
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
    let (lab, mut agent, token) = told_to_wipe("released").await;
    let token = token.as_deref();
    for info in
        [("127.0.0.1", 0, "", ""), ("0.0.0.0", 0, "", ""), ("bmc.example.com", 0, "", ""), ("", 0, "", "")]
    {
        let refused = report(&lab, &mut agent, token, info).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{info:?}");
    }
    let mut refused = 0;
    for _ in 0..100 {
        match report(&lab, &mut agent, token, ("10.77.0.11", 0, "", "")).await {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(error.code(), Code::ResourceExhausted);
                refused += 1;
            }
        }
    }
    assert!(refused >= 100 - 32, "{refused}");
}

#[tokio::test]
async fn an_account_that_is_not_sealed_to_this_plane_is_not_taken() {
    let (lab, mut agent, token) = told_to_set_up().await;
    let token = token.as_deref();
    let plain = info(("10.77.0.11", 623, "sidero", "s3cret"));
    // In clear text, as upstream's agents send it.
    let refused = send(&mut agent, token, plain.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    // Sealed to another key, or for another machine; and a box with something plain beside it.
    let other = pb::seal::public_key(&[9; 32]);
    let other = pb::seal::PlaneKey::verified(&other, &pb::seal::fingerprint(&other)).unwrap();
    let own = plane_key(&lab).unwrap();
    for sealed in [other.seal(UUID, &plain), own.seal("5c5c5544-0042-3110-8051-b7c04f4e3332", &plain)]
        .map(Result::unwrap)
    {
        let refused = send(&mut agent, token, sealed).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert!(!refused.message().contains("s3cret"));
    }
    assert_eq!((bmc(&lab), secret(&lab)), (Value::Null, None));
    let beside = pb::BmcInfo { ip: "10.66.6.6".to_owned(), ..own.seal(UUID, &plain).unwrap() };
    send(&mut agent, token, beside).await.unwrap();
    assert_eq!(bmc(&lab)["endpoint"], json!("10.77.0.11"));
    // With upstream's agents allowed, plain accounts are taken.
    let lab = Lab::start(Setup { token_required: false, ..Setup::default() });
    put(&lab, "released");
    let mut agent = client(&lab).await;
    assert!(register(&mut agent, None).await.unwrap().setup_bmc);
    send(&mut agent, None, plain).await.unwrap();
    assert_eq!(bmc(&lab)["endpoint"], json!("10.77.0.11"));
}

/// Finding 5: another machine's controller, or the plane itself, is no controller of this one.
#[tokio::test]
async fn the_controller_of_another_server_is_not_taken() {
    let (lab, mut agent, token) = told_to_set_up().await;
    let token = token.as_deref();
    lab.api.put(
        &crate::tests::fake_api::metal("servers", "5c5c5544-0042-3110-8051-b7c04f4e3332"),
        json!({ "spec": { "accepted": true, "bmc": { "endpoint": "10.77.0.11" } } }),
    );
    let refused = report(&lab, &mut agent, token, ("10.77.0.11", 0, "root", "evil")).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("5c5c5544"), "{refused:?}");
    let warned = events(&lab, 1).await;
    assert!(warned.iter().any(|event| event["type"] == "Warning"), "{warned:?}");
    assert_eq!((bmc(&lab), secret(&lab)), (Value::Null, None));
}
