//! What the power drivers are told of a machine's identity, and what a person is told when its BMC has another.
//!
//! Never takes an annotation that cannot be read for none.

use std::fmt::{Debug, Formatter};
use std::sync::Arc;

use bloomery_api::Server;
use bloomery_api::marks::SYSTEM_UUID_ANNOTATION;
use bloomery_api::server::{Bmc, CredentialSource};
use bloomery_power::identity::{Guid, Identity, Machines};
use bloomery_power::{CertificatePin, PowerError};
use kube::ResourceExt;

use crate::watch::Servers;

/// GUIDs, divided by commas, that a person declared to be what the machine's BMC says.
const BMC_UUID_ANNOTATION: &str = "bloomery.dev/bmc-uuid";
/// Key of the BMC's certificate: trusted at first use, changed by a person.
pub(super) const CERTIFICATE_ANNOTATION: &str = "bloomery.dev/bmc-certificate";
/// The account that agents make, and the namespace of its Secret.
const AGENT_USER: &str = "sidero";
const AGENT_NAMESPACE: &str = "default";

/// An annotation that makes no sense; nothing is sent until somebody corrects it.
#[derive(Debug, thiserror::Error)]
#[error("failed to understand the annotation {annotation} of Server {server}: give {wanted}")]
pub(super) struct BadAnnotation {
    annotation: &'static str,
    server: String,
    wanted: &'static str,
}

fn annotation<'a>(server: &'a Server, name: &str) -> Option<&'a str> {
    server.annotations().get(name).map(String::as_str).filter(|text| !text.trim().is_empty())
}

fn bad(server: &Server, annotation: &'static str, wanted: &'static str) -> BadAnnotation {
    BadAnnotation { annotation, server: server.name_any(), wanted }
}

/// The machine's UUIDs: those of the annotation, else the Server's name.
fn uuids(server: &Server) -> Vec<Guid> {
    let name = server.name_any();
    annotation(server, SYSTEM_UUID_ANNOTATION).unwrap_or(&name).split(',').filter_map(Guid::parse).collect()
}

/// Whose the BMC of `server` has to be.
///
/// # Errors
/// An annotation is unreadable.
pub(super) fn identity(server: &Server, machines: Arc<dyn Machines>) -> Result<Identity, BadAnnotation> {
    let declared = annotation(server, BMC_UUID_ANNOTATION).unwrap_or_default();
    let declared = declared.split(',').filter(|text| !text.trim().is_empty()).map(Guid::parse);
    let declared = declared.collect::<Option<Vec<_>>>();
    Ok(Identity {
        server: server.name_any(),
        uuids: uuids(server),
        declared: declared.ok_or_else(|| bad(server, BMC_UUID_ANNOTATION, "GUIDs divided by commas"))?,
        must_prove: false,
        account_is_proof: false,
        machines,
    })
}

/// The key that the BMC's certificate has to have, if one was seen.
///
/// # Errors
/// The annotation is unreadable.
pub(super) fn pinned(server: &Server) -> Result<Option<CertificatePin>, BadAnnotation> {
    annotation(server, CERTIFICATE_ANNOTATION)
        .map(|text| {
            CertificatePin::parse(text).ok_or_else(|| {
                bad(server, CERTIFICATE_ANNOTATION, "sha256: and 64 hexadecimal digits, or remove it")
            })
        })
        .transpose()
}

/// The machine's agent made the account: the boot services keep it in a Secret of the Server's name.
pub(super) fn is_agents_account(server: &Server, bmc: &Bmc, user: &str) -> bool {
    let expected = format!("{}-bmc", server.name_any());
    let kept = |literal: &str, from: Option<&CredentialSource>| {
        let reference = from.and_then(|from| from.secret_key_ref.as_ref());
        literal.is_empty()
            && reference.is_some_and(|one| one.namespace == AGENT_NAMESPACE && one.name == expected)
    };
    user == AGENT_USER && kept(&bmc.user, bmc.user_from.as_ref()) && kept(&bmc.pass, bmc.pass_from.as_ref())
}

/// All accepted Servers, by the GUIDs of their machines. One that a stranger registered must not take another's BMC
/// away.
pub(super) struct AcceptedServers(pub(super) Servers);

impl Debug for AcceptedServers {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("AcceptedServers").field("servers", &self.0.count()).finish()
    }
}

impl Machines for AcceptedServers {
    fn owner(&self, guid: Guid) -> Option<String> {
        let is_its =
            |server: &Server| server.spec.accepted && uuids(server).iter().any(|own| guid.matches(*own));
        let all = self.0.known();
        all.iter().find(|guarded| guarded.0.as_ref().is_ok_and(is_its)).map(|guarded| guarded.name_any())
    }
}

/// Reasons of `PowerReachable` that a person has to end.
pub(super) const OTHER_MACHINE: &str = "OtherMachine";
/// See [`OTHER_MACHINE`].
pub(super) const CERTIFICATE_CHANGED: &str = "CertificateChanged";

/// The reason, and the command that ends it, of a failure that only a person can end.
pub(super) fn way_out(server: &str, cause: &PowerError) -> Option<(&'static str, String)> {
    if let Some((_, shown)) = cause.changed_certificate() {
        let way = format!(
            "if the BMC was replaced or its certificate renewed: kubectl annotate --overwrite server {server} \
             {CERTIFICATE_ANNOTATION}={shown}"
        );
        return Some((CERTIFICATE_CHANGED, way));
    }
    if !cause.is_about_identity() {
        return None;
    }
    let told = cause.other_machine().and_then(|not_ours| not_ours.told);
    let owned = cause.other_machine().is_some_and(|not_ours| not_ours.owner.is_some());
    let way = match told {
        // What another Server is must not be made this one's by a copied command.
        Some(told) if !owned => format!(
            "correct spec.bmc, or if the BMC's GUID is wrong: kubectl annotate --overwrite server {server} \
             {BMC_UUID_ANNOTATION}={told}"
        ),
        Some(_) | None => "correct spec.bmc".to_owned(),
    };
    Some((OTHER_MACHINE, way))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bloomery_api::ServerSpec;
    use bloomery_power::identity::NotOurs;

    const UUID: &str = "38947555-7742-3448-3784-823347823834";
    const OTHER: &str = "11111111-2222-3333-4444-555555555555";

    fn server(annotations: &[(&str, &str)]) -> Server {
        let mut server = Server::new(UUID, ServerSpec::default());
        let pairs = annotations.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        server.metadata.annotations = Some(pairs.collect());
        server
    }

    #[test]
    fn the_machine_is_the_name_unless_an_annotation_says_otherwise() {
        let of = |server: &Server| identity(server, Arc::new(())).unwrap();
        let guid = |text: &str| Guid::parse(text).unwrap();
        assert_eq!(of(&server(&[])).uuids, [guid(UUID)]);
        assert_eq!(of(&server(&[(SYSTEM_UUID_ANNOTATION, OTHER)])).uuids, [guid(OTHER)]);
        // One Server for a machine whose firmware has shown two.
        let merged = of(&server(&[(SYSTEM_UUID_ANNOTATION, &format!("{OTHER},{UUID}"))]));
        assert_eq!(merged.uuids, [guid(OTHER), guid(UUID)]);
        assert!(merged.is(guid(UUID)) && merged.is(guid(OTHER)));
        let declared = of(&server(&[(BMC_UUID_ANNOTATION, &format!("{OTHER}, {UUID}"))])).declared;
        assert_eq!(declared, [Guid::parse(OTHER).unwrap(), Guid::parse(UUID).unwrap()]);
        assert!(identity(&server(&[(BMC_UUID_ANNOTATION, "mine")]), Arc::new(())).is_err());
    }

    #[test]
    fn an_unreadable_pin_is_not_none() {
        let pin = CertificatePin::of(b"key");
        assert_eq!(pinned(&server(&[])).unwrap(), None);
        assert_eq!(pinned(&server(&[(CERTIFICATE_ANNOTATION, &pin.to_string())])).unwrap(), Some(pin));
        let error = pinned(&server(&[(CERTIFICATE_ANNOTATION, "sha256:12")])).unwrap_err();
        assert!(error.to_string().contains(CERTIFICATE_ANNOTATION), "{error}");
    }

    #[test]
    fn only_the_secret_of_the_boot_services_holds_an_agents_account() {
        let source = |namespace: &str, name: &str| {
            let reference =
                serde_json::json!({ "secretKeyRef": { "namespace": namespace, "name": name, "key": "k" } });
            Some(serde_json::from_value::<CredentialSource>(reference).unwrap())
        };
        let own = || source("default", &format!("{UUID}-bmc"));
        let bmc = Bmc { user_from: own(), pass_from: own(), ..Bmc::default() };
        assert!(is_agents_account(&server(&[]), &bmc, "sidero"));
        for (bmc, user) in [
            (bmc.clone(), "ADMIN"),
            (Bmc { pass: "literal".to_owned(), ..bmc.clone() }, "sidero"),
            (Bmc { pass_from: source("default", "mine"), ..bmc.clone() }, "sidero"),
            (Bmc { user_from: source("other", &format!("{UUID}-bmc")), ..bmc.clone() }, "sidero"),
            (Bmc { user_from: None, ..bmc }, "sidero"),
        ] {
            assert!(!is_agents_account(&server(&[]), &bmc, user), "{bmc:?} {user}");
        }
    }

    #[test]
    fn a_person_is_told_the_command_but_none_that_gives_away_another_server() {
        let told = Guid::parse(OTHER);
        let not_ours = |owner| PowerError::from(NotOurs { server: "a".to_owned(), told, owner });
        let (reason, way) = way_out("a", &not_ours(None)).unwrap();
        assert_eq!(reason, OTHER_MACHINE);
        assert!(way.ends_with(&format!("server a {BMC_UUID_ANNOTATION}={OTHER}")), "{way}");
        let (reason, way) = way_out("a", &not_ours(Some("b".to_owned()))).unwrap();
        assert_eq!((reason, way.as_str()), (OTHER_MACHINE, "correct spec.bmc"));
        assert_eq!(way_out("a", &PowerError::Unwanted), None);
    }
}
