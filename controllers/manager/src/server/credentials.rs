//! What the pool needs to reach a machine's management controller, its credentials read from Secrets now.
//!
//! A person who may edit Servers may name any Secret and any address: what a Secret holds would be sent there. So only
//! Secrets count that can be accounts, of namespaces that the role of the controllers is bound in.
//! Never logs or keeps a credential, and never puts any part of a Secret into an error.

use bloomery_api::Server;
use bloomery_api::plane::{Authority, label};
use bloomery_api::server::{Bmc, CredentialSource};
use bloomery_api::siderolink;
use bloomery_power::identity::Identity;
use bloomery_power::{BmcTarget, DEFAULT_PORT, Target};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::{Api, Client};
use secrecy::ExposeSecret;

use crate::cluster::CLUSTER_LABEL;

use super::identity::{BadAnnotation, is_agents_account, pinned};

/// Why there is no management client (spec/sidero.md §6 gives the texts).
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialError {
    /// An annotation about the BMC makes no sense.
    #[error(transparent)]
    Annotation(#[from] BadAnnotation),
    /// Its Secrets are none of this plane's business.
    #[error("another plane looks after this Server; its account is not read")]
    OtherPlane,
    #[error("missing secretKeyRef")]
    MissingReference,
    #[error("error getting secret \"{name}\": {why}")]
    Secret {
        name: String,
        /// Why, without anything of its content.
        why: String,
    },
    /// The role of the controllers is not bound there.
    #[error(
        "error getting secret \"{name}\": accounts are not read in namespace {namespace}; to allow it: kubectl create \
         rolebinding {ROLE} --namespace {namespace} --clusterrole {ROLE} --user {USER}"
    )]
    NotAllowed { name: String, namespace: String },
    #[error(
        "secret \"{name}\" is no account of a management controller: {problem}; put the account into a Secret of its own"
    )]
    NotAnAccount { name: String, problem: &'static str },
    #[error("secret key \"{key}\" is missing in secret \"{name}\"")]
    MissingKey { key: String, name: String },
    #[error("secret key \"{key}\" in secret \"{name}\" is not UTF-8 text")]
    NotText { key: String, name: String },
}

/// HTTP's word for what a role does not allow.
const FORBIDDEN: u16 = 403;
/// Role that reads accounts, and the user that it is bound to: manifests/20-rbac.yaml.
const ROLE: &str = "bloomery:credentials";
/// See [`ROLE`].
const USER: &str = "bloomery:controllers";
/// Types of Secrets that people put accounts into; the control plane and Cluster API mark their own by others.
const ACCOUNT_TYPES: [&str; 2] = ["Opaque", "kubernetes.io/basic-auth"];
/// Namespaces in which the role is bound from the start.
const OPEN: [&str; 2] = ["default", "sidero-system"];
/// The boot services' own key.
const BOOT_TOKEN_KEY: &str = "bloomery-agent-token";

/// Resolves what `server` says of its power control, the BMC of which has to be that of `identity`'s machine.
pub(super) async fn target(
    client: &Client,
    server: &Server,
    authority: &Authority,
    mut identity: Identity,
) -> Result<Target, CredentialError> {
    is_ours(server, authority)?;
    let bmc = match &server.spec.bmc {
        Some(bmc) => Some(bmc_target(client, bmc).await?),
        None => None,
    };
    if let (Some(resolved), Some(bmc)) = (&bmc, &server.spec.bmc) {
        identity.account_is_proof = is_agents_account(server, bmc, resolved.user.expose_secret());
    }
    let bmc = match bmc {
        Some(bmc) => Some(BmcTarget { pinned: pinned(server)?, ..bmc }),
        None => None,
    };
    let management_api = server.spec.management_api.as_ref().map(|api| api.endpoint.clone());
    Ok(Target { identity, bmc, management_api })
}

async fn bmc_target(client: &Client, bmc: &Bmc) -> Result<BmcTarget, CredentialError> {
    let user = credential(client, &bmc.user, bmc.user_from.as_ref()).await?;
    let pass = credential(client, &bmc.pass, bmc.pass_from.as_ref()).await?;
    let port = u16::try_from(bmc.port).ok().filter(|port| *port != 0).unwrap_or(DEFAULT_PORT);
    Ok(BmcTarget {
        endpoint: bmc.endpoint.clone(),
        port,
        user: user.into(),
        pass: pass.into(),
        interface: bmc.interface.clone(),
        pinned: None,
    })
}

/// The literal wins, as upstream has it.
async fn credential(
    client: &Client,
    literal: &str,
    from: Option<&CredentialSource>,
) -> Result<String, CredentialError> {
    let from = match from {
        Some(from) if literal.is_empty() => from,
        Some(_) | None => return Ok(literal.to_owned()),
    };
    let reference = from.secret_key_ref.as_ref().ok_or(CredentialError::MissingReference)?;
    let (name, key) = (reference.name.clone(), reference.key.clone());
    is_open(client, &name, &reference.namespace).await?;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &reference.namespace);
    let secret = secrets.get(&name).await.map_err(|error| unreadable(&name, &reference.namespace, &error))?;
    is_account(&name, &secret)?;
    match secret.data.unwrap_or_default().remove(&key) {
        None => Err(CredentialError::MissingKey { key, name }),
        Some(value) => String::from_utf8(value.0).map_err(|_| CredentialError::NotText { key, name }),
    }
}

/// Fails on a Server that this plane does not look after.
fn is_ours(server: &Server, authority: &Authority) -> Result<(), CredentialError> {
    let is_ours =
        authority.trust().is_some_and(|trust| label(server).is_some_and(|plane| trust.is_own(plane)));
    if is_ours { Ok(()) } else { Err(CredentialError::OtherPlane) }
}

/// Fails for a namespace whose accounts nobody gave to the controllers: they read Secrets of clusters everywhere, and a
/// Server must not be a way to read one.
async fn is_open(client: &Client, name: &str, namespace: &str) -> Result<(), CredentialError> {
    if OPEN.contains(&namespace) {
        return Ok(());
    }
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), namespace);
    let found = bindings.get_opt(ROLE).await.map_err(|error| unreadable(name, namespace, &error))?;
    if found.is_some_and(|found| is_for_us(&found)) {
        return Ok(());
    }
    Err(CredentialError::NotAllowed { name: name.to_owned(), namespace: namespace.to_owned() })
}

/// Whether a person gave the controllers the role by this.
fn is_for_us(binding: &RoleBinding) -> bool {
    let subjects = binding.subjects.as_deref().unwrap_or_default();
    binding.role_ref.kind == "ClusterRole"
        && binding.role_ref.name == ROLE
        && subjects.iter().any(|subject| subject.kind == "User" && subject.name == USER)
}

/// What is said of a Secret that was not given.
fn unreadable(name: &str, namespace: &str, error: &kube::Error) -> CredentialError {
    let (name, namespace) = (name.to_owned(), namespace.to_owned());
    match error {
        kube::Error::Api(status) if status.code == FORBIDDEN => {
            CredentialError::NotAllowed { name, namespace }
        }
        kube::Error::Api(status) => CredentialError::Secret { name, why: status.message.clone() },
        kube::Error::HyperError(_) | kube::Error::Service(_) => {
            CredentialError::Secret { name, why: "the API server does not answer".to_owned() }
        }
        // The text of others may quote what could not be understood.
        _ => CredentialError::Secret { name, why: "its answer cannot be understood".to_owned() },
    }
}

/// Fails on a Secret that is surely no account of a management controller.
fn is_account(name: &str, secret: &Secret) -> Result<(), CredentialError> {
    let refused = |problem| Err(CredentialError::NotAnAccount { name: name.to_owned(), problem });
    let type_ = secret.type_.as_deref().unwrap_or("Opaque");
    if !ACCOUNT_TYPES.contains(&type_) {
        return refused("its type is neither Opaque nor kubernetes.io/basic-auth");
    }
    if secret.metadata.labels.iter().flatten().any(|(label, _)| label == CLUSTER_LABEL) {
        return refused("it belongs to a cluster");
    }
    if name == BOOT_TOKEN_KEY {
        return refused("it is the key of boot tokens");
    }
    if name == siderolink::SECRET_NAME {
        return refused("it is the key of SideroLink");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bloomery_api::plane::PLANE_LABEL;
    use bloomery_api::trust::{SigningKey, Trust};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use kube::core::Status;

    use super::*;

    fn secret(type_: Option<&str>, label: Option<&str>) -> Secret {
        let labels = label.map(|label| [(label.to_owned(), "c".to_owned())].into());
        let metadata = ObjectMeta { labels, ..ObjectMeta::default() };
        Secret { type_: type_.map(str::to_owned), metadata, ..Secret::default() }
    }

    #[test]
    fn only_secrets_that_can_be_accounts_are_used() {
        for (name, secret, is_used) in [
            ("bmc", secret(Some("Opaque"), None), true),
            ("bmc", secret(None, None), true),
            ("bmc", secret(Some("kubernetes.io/basic-auth"), Some("clusterctl.cluster.x-k8s.io/move")), true),
            ("c-ca", secret(Some("cluster.x-k8s.io/secret"), None), false),
            ("c-talos", secret(Some("Opaque"), Some(CLUSTER_LABEL)), false),
            ("sa", secret(Some("kubernetes.io/service-account-token"), None), false),
            ("tls", secret(Some("kubernetes.io/tls"), None), false),
            (BOOT_TOKEN_KEY, secret(Some("Opaque"), None), false),
            (siderolink::SECRET_NAME, secret(Some("Opaque"), None), false),
        ] {
            assert_eq!(is_account(name, &secret).is_ok(), is_used, "{name} {secret:?}");
        }
    }

    #[test]
    fn a_namespace_is_opened_by_the_role_for_the_controllers_and_by_nothing_else() {
        let binding = |kind: &str, role: &str, subject: (&str, &str)| -> RoleBinding {
            serde_json::from_value(serde_json::json!({
                "metadata": { "name": ROLE }, "roleRef": { "apiGroup": "", "kind": kind, "name": role },
                "subjects": [{ "kind": subject.0, "name": subject.1 }],
            }))
            .unwrap()
        };
        for (binding, is_open) in [
            (binding("ClusterRole", ROLE, ("User", USER)), true),
            (binding("Role", ROLE, ("User", USER)), false),
            (binding("ClusterRole", "view", ("User", USER)), false),
            (binding("ClusterRole", ROLE, ("Group", USER)), false),
            (binding("ClusterRole", ROLE, ("User", "other")), false),
        ] {
            assert_eq!(is_for_us(&binding), is_open, "{binding:?}");
        }
    }

    #[test]
    fn only_of_servers_in_our_charge() {
        let trust = Trust::new(SigningKey::new([7; 32]), "own");
        let holds = Authority::Holds { epoch: 1, trust };
        let fenced = Authority::Fenced { holder: "other".to_owned() };
        for (plane, authority, is_read) in [
            (Some("own"), &holds, true),
            (Some("other"), &holds, false),
            (None, &holds, false),
            (Some("own"), &fenced, false),
            (Some("own"), &Authority::Unknown, false),
        ] {
            let mut server = Server::new("a", bloomery_api::ServerSpec::default());
            let label = plane.map(|plane| (PLANE_LABEL.to_owned(), plane.to_owned()));
            server.metadata.labels = Some(label.into_iter().collect());
            assert_eq!(is_ours(&server, authority).is_ok(), is_read, "{plane:?} {authority:?}");
        }
    }

    #[test]
    fn errors_say_what_to_do_and_nothing_of_a_secret() {
        let status = |code, message: &str| {
            let status = Status { code, message: message.to_owned(), ..Status::default() };
            kube::Error::Api(Box::new(status))
        };
        let told = |error| unreadable("bmc", "rack", &error).to_string();
        let forbidden = told(status(403, "secrets is forbidden"));
        assert!(forbidden.contains("--namespace rack --clusterrole bloomery:credentials"), "{forbidden}");
        let absent = told(status(404, "secrets \"bmc\" not found"));
        assert_eq!(absent, "error getting secret \"bmc\": secrets \"bmc\" not found");
        let quoted = serde_json::from_str::<u8>("\"hunter2\"").unwrap_err();
        assert!(quoted.to_string().contains("hunter2"), "{quoted}");
        let told = told(kube::Error::SerdeError(quoted));
        assert!(!told.contains("hunter2"), "{told}");
    }
}
