//! `UpdateBMCInfo`: access to the management controller that the agent set up on our order.
//!
//! Only the boot that was told to set it up may say so, a few times, and only while nobody else named a
//! controller: who could change its address would be sent its password. It must never log an account.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use bloomery_agent_api as pb;
use bloomery_api::Server;
use bloomery_api::crds::MOVE_LABEL;
use bloomery_api::server::{Bmc, CredentialSource, SecretKeyRef};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Patch, PostParams};
use kube::{Api, Client, Resource};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tonic::Status;

use super::objects::{
    ATTEMPTS, FIELD_MANAGER, Machine, Source, Written, api_failed, contended, merge_object, params, unlisted,
    within,
};
use super::serve::{Handler, Shown};
use crate::boots::{BmcSetup, Caller};
use crate::connection::own_addresses;
use crate::events::Happening;
use crate::tokens::OpenError;

const NAMESPACE: &str = "default";
/// Fields of the Secret.
const USER: &str = "user";
const PASS: &str = "pass";
/// IPMI's port (IANA).
const IPMI_PORT: i32 = 623;
/// Calls in one boot: an address and an account, each tried again a few times.
const MAX_CALLS: u32 = 32;
/// The least time between two calls of one boot, so that a mad agent does not keep the API busy.
const CALL_EVERY: Duration = Duration::from_millis(100);
/// Octets of a user name or password; IPMI knows 16 and 20.
const MAX_ACCOUNT_TEXT: usize = 128;

/// What the agent says, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) address: Option<IpAddr>,
    pub(super) port: Option<i32>,
    /// User name and password.
    account: Option<(String, String)>,
}

/// Why a report is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ReportError {
    #[error("the report holds neither an address nor an account")]
    Empty,
    /// No IP address, or one that no controller can be reached at.
    #[error("the address of the management controller cannot be one")]
    Address,
    #[error("the port of the management controller is none")]
    Port,
    /// Too long, or with control characters.
    #[error("the account of the management controller is malformed")]
    Account,
}

impl Report {
    /// Reads what was sent.
    pub(super) fn read(info: &pb::BmcInfo) -> Result<Self, ReportError> {
        let address = match info.ip.trim() {
            "" => None,
            text => Some(text.parse().ok().filter(is_reachable).ok_or(ReportError::Address)?),
        };
        let port = match info.port {
            0 => None,
            port => Some(u16::try_from(port).map_err(|_| ReportError::Port)?.into()),
        };
        let account =
            (!info.user.is_empty() && !info.pass.is_empty()).then(|| (info.user.clone(), info.pass.clone()));
        if address.is_none() && account.is_none() {
            return Err(ReportError::Empty);
        }
        let fits = |text: &String| text.len() <= MAX_ACCOUNT_TEXT && !text.chars().any(char::is_control);
        if account.as_ref().is_some_and(|(user, pass)| !fits(user) || !fits(pass)) {
            return Err(ReportError::Account);
        }
        Ok(Self { address, port, account })
    }

    /// The digest by which a repeated account is known again.
    fn account_digest(&self) -> Option<[u8; 32]> {
        self.account.as_ref().map(|(user, pass)| {
            let mut hasher = Sha256::new();
            hasher.update(user.as_bytes());
            hasher.update([0]);
            hasher.update(pass.as_bytes());
            hasher.finalize().into()
        })
    }

    /// `spec.bmc` after this report. What it does not say stays; a port that was given once is kept.
    pub(super) fn applied(&self, known: Option<&Bmc>, name: &str) -> Bmc {
        let mut bmc = known.cloned().unwrap_or_default();
        if let Some(address) = self.address {
            bmc.endpoint = address.to_string();
        }
        match self.port {
            Some(port) => bmc.port = port,
            None if bmc.port == 0 => bmc.port = IPMI_PORT,
            None => {}
        }
        if self.account.is_some() {
            let source = |key: &str| {
                Some(CredentialSource {
                    secret_key_ref: Some(SecretKeyRef {
                        namespace: NAMESPACE.to_owned(),
                        name: secret_name(name),
                        key: key.to_owned(),
                    }),
                })
            };
            bmc.user_from = source(USER);
            bmc.pass_from = source(PASS);
            bmc.user.clear();
            bmc.pass.clear();
        }
        bmc
    }
}

/// Whether an address can be a controller's, seen from here.
fn is_reachable(address: &IpAddr) -> bool {
    let address = address.to_canonical();
    let special = address.is_loopback() || address.is_unspecified() || address.is_multicast();
    let local = match address {
        IpAddr::V4(v4) => v4.is_broadcast() || v4.is_link_local() || v4.octets()[0] == 0,
        // Of no use without the name of an interface.
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !special && !local
}

fn secret_name(server: &str) -> String {
    format!("{server}-bmc")
}

impl Handler {
    pub(super) async fn update_bmc(
        self,
        request: pb::UpdateBmcInfoRequest,
        shown: Shown,
    ) -> Result<pb::UpdateBmcInfoResponse, Status> {
        let pb::UpdateBmcInfoRequest { uuid, bmc_info } = request;
        let client = self.client()?;
        self.acting().await?;
        let (name, caller) = self.caller(&uuid, &shown).await?;
        let info = self.opened(&uuid, bmc_info.unwrap_or_default()).await?;
        let report = Report::read(&info).map_err(|error| Status::invalid_argument(error.to_string()))?;
        if let Some(address) = report.address {
            self.may_be_controller(address, &name)?;
        }
        if self.is_repeated(&caller, &report)? {
            return Ok(pb::UpdateBmcInfoResponse {});
        }
        for _ in 0..ATTEMPTS {
            let machine = self.machine(&client, &name, Source::Api).await?;
            self.may_set_up(&caller, &machine)?;
            if let Some((user, pass)) = &report.account {
                store_account(&client, &machine.server, user, pass).await?;
            }
            let bmc = report.applied(machine.server.spec.bmc.as_ref(), &name);
            let change = json!({ "spec": { "bmc": merge_patch_of(&bmc)? } });
            if let Written::Done(server) = merge_object(&client, &machine.server, change).await? {
                self.note(&caller, &report);
                tracing::info!(
                    server = name,
                    endpoint = bmc.endpoint,
                    account = report.account.is_some(),
                    "bmc info updated"
                );
                let event = Happening::of(&server, "BMC Update", "BMC info updated via API.");
                self.services.events.record(event);
                return Ok(pb::UpdateBmcInfoResponse {});
            }
        }
        Err(contended(&name))
    }

    /// The account, which must be sealed where agents must show a token: the network between is anybody's.
    async fn opened(&self, uuid: &str, info: pb::BmcInfo) -> Result<pb::BmcInfo, Status> {
        if info.sealed.is_empty() {
            return if self.services.tokens.required() {
                Err(Status::failed_precondition(
                    "the account of the management controller is not sealed to this plane's key",
                ))
            } else {
                Ok(info)
            };
        }
        self.services.tokens.open(uuid, &info).await.map_err(|error| match error {
            OpenError::Key(_) => Status::unavailable(bloomery_base::chain(&error)),
            OpenError::NoKey => Status::failed_precondition(bloomery_base::chain(&error)),
            OpenError::Seal(_) => Status::invalid_argument(bloomery_base::chain(&error)),
        })
    }

    /// An address of this very host, or of another Server's controller, is no controller's of this machine.
    fn may_be_controller(&self, address: IpAddr, name: &str) -> Result<(), Status> {
        if own_addresses().any(|(own, _)| own == address.to_canonical()) {
            tracing::warn!(server = name, %address, "management controller refused: the address is this plane's");
            return Err(Status::invalid_argument("the address of the management controller is this plane's"));
        }
        let Some(other) = self.services.objects.servers.controlled_at(address, name).map_err(unlisted)?
        else {
            return Ok(());
        };
        tracing::warn!(server = name, other, %address, "management controller refused: it is another Server's");
        if let Some(known) = self.services.objects.servers.known(name) {
            let server = known.server;
            let text = format!(
                "The machine's agent names the management controller {address}, which is that of Server {other}: it is \
                 not stored."
            );
            self.services.events.record(Happening::of(&server, "BMC Update", text).warning());
        }
        Err(Status::failed_precondition(format!(
            "the management controller {address} is that of Server {other}"
        )))
    }

    /// Counts the report of a boot that may make one; true if it said the same before.
    fn is_repeated(&self, caller: &Caller, report: &Report) -> Result<bool, Status> {
        let not_ordered = || Status::failed_precondition("this boot was not told to set up its controller");
        let counted = self.services.tokens.with(caller, |memory| {
            let setup: &mut BmcSetup = memory.bmc.as_mut().ok_or_else(not_ordered)?;
            if let Some(stored) = setup.account {
                return match report.account_digest() {
                    Some(digest) if digest == stored => Ok(true),
                    _ => Err(Status::failed_precondition("the controller is set up already in this boot")),
                };
            }
            let too_soon = setup.last.is_some_and(|last| last.elapsed() < CALL_EVERY);
            if setup.calls >= MAX_CALLS || too_soon {
                return Err(Status::resource_exhausted("too many reports about the controller"));
            }
            setup.calls += 1;
            setup.last = Some(Instant::now());
            Ok(false)
        });
        counted.unwrap_or_else(|| Err(not_ordered()))
    }

    /// The machine must still be one that is set up, and its controller ours to name.
    fn may_set_up(&self, caller: &Caller, machine: &Machine) -> Result<(), Status> {
        let standing = machine.standing();
        if !machine.server.spec.accepted || standing.is_claimed() {
            return Err(Status::failed_precondition(standing.message()));
        }
        let ours =
            self.services.tokens.with(caller, |memory| memory.bmc.as_ref().is_some_and(|bmc| bmc.wrote));
        if machine.server.spec.bmc.is_some() && ours != Some(true) {
            return Err(Status::failed_precondition("somebody else named the management controller"));
        }
        Ok(())
    }

    /// Whether this boot named the controller and broke off before it had an account there: then it goes on with that,
    /// or nobody could ever switch the machine.
    pub(super) fn is_half_set_up(&self, caller: &Caller, machine: &Machine) -> bool {
        let Some(Bmc { endpoint: _, port: _, user, user_from, pass, pass_from, interface: _ }) =
            &machine.server.spec.bmc
        else {
            return false;
        };
        let has_account = !user.is_empty() || !pass.is_empty() || user_from.is_some() || pass_from.is_some();
        let ours = self.services.tokens.with(caller, |memory| {
            memory.bmc.as_ref().is_some_and(|setup| setup.wrote && setup.account.is_none())
        });
        self.services.sidero.auto_bmc_setup
            && !has_account
            && ours == Some(true)
            && self.may_set_up(caller, machine).is_ok()
    }

    fn note(&self, caller: &Caller, report: &Report) {
        self.services.tokens.with(caller, |memory| {
            if let Some(setup) = &mut memory.bmc {
                setup.wrote = true;
                setup.account = report.account_digest();
                // The next report belongs to this one, not to a mad agent.
                setup.last = None;
            }
        });
    }
}

/// The whole of `spec.bmc`, with what is empty taken away from the object.
fn merge_patch_of(bmc: &Bmc) -> Result<Value, Status> {
    let mut patch =
        serde_json::to_value(bmc).map_err(|_| Status::internal("failed to write the controller"))?;
    for plain in [USER, PASS] {
        if patch.get(plain).is_none() {
            patch[plain] = Value::Null;
        }
    }
    Ok(patch)
}

/// Creates or updates the Secret of the account, owned by the Server.
async fn store_account(client: &Client, server: &Server, user: &str, pass: &str) -> Result<(), Status> {
    let name = secret_name(server.metadata.name.as_deref().unwrap_or_default());
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(NAMESPACE.to_owned()),
            labels: Some([(MOVE_LABEL.to_owned(), String::new())].into()),
            owner_references: Some(vec![OwnerReference {
                block_owner_deletion: Some(true),
                ..server.controller_owner_ref(&()).unwrap_or_default()
            }]),
            ..ObjectMeta::default()
        },
        data: Some(
            [(USER, user), (PASS, pass)]
                .map(|(key, value)| (key.to_owned(), ByteString(value.as_bytes().to_vec())))
                .into(),
        ),
        ..Secret::default()
    };
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let create = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    let what = format!("Secret {NAMESPACE}/{name}");
    match within(secrets.create(&create, &secret)).await? {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            within(secrets.patch(&name, &params(), &Patch::Merge(&secret)))
                .await?
                .map(|_| ())
                .map_err(|error| api_failed("update", &what, &error))
        }
        Err(error) => Err(api_failed("create", &what, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(ip: &str, port: u32, user: &str, pass: &str) -> pb::BmcInfo {
        let (ip, user, pass) = (ip.to_owned(), user.to_owned(), pass.to_owned());
        pb::BmcInfo { ip, port, user, pass, ..pb::BmcInfo::default() }
    }

    #[test]
    fn reports_are_checked() {
        for ip in
            ["10.0.0.9", "fd00::9", "192.168.0.1", " 10.0.0.9 "].map(|ip| Report::read(&info(ip, 0, "", "")))
        {
            assert!(ip.is_ok(), "{ip:?}");
        }
        for ip in [
            "127.0.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "169.254.0.17",
            "fe80::1",
            "bmc.example.com",
            "10.0.0.9:623",
        ] {
            assert_eq!(Report::read(&info(ip, 0, "", "")), Err(ReportError::Address), "{ip}");
        }
        assert_eq!(Report::read(&info("10.0.0.9", 65_536, "", "")), Err(ReportError::Port));
        assert_eq!(Report::read(&info("", 623, "", "")), Err(ReportError::Empty));
        assert_eq!(Report::read(&info("", 0, "sidero", "")), Err(ReportError::Empty));
        assert_eq!(Report::read(&info("", 0, "si\ndero", "p")), Err(ReportError::Account));
    }

    #[test]
    fn a_port_that_was_given_once_is_kept() {
        let first = Report::read(&info("10.0.0.9", 6230, "", "")).unwrap().applied(None, "u");
        assert_eq!((first.endpoint.as_str(), first.port), ("10.0.0.9", 6230));
        let second = Report::read(&info("", 0, "sidero", "p")).unwrap().applied(Some(&first), "u");
        assert_eq!((second.endpoint.as_str(), second.port), ("10.0.0.9", 6230));
        let plain = Report::read(&info("10.0.0.9", 0, "", "")).unwrap().applied(None, "u");
        assert_eq!(plain.port, IPMI_PORT);
    }
}
