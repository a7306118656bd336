//! From a kubeconfig to the two interfaces of an appliance: its own HTTPS and the Kubernetes API.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use std::{env, fs, io};

use bloomery_pairing::PairingId;
use bloomery_pairing::client::{
    self, APPLIANCE_EXTENSION, AdminClient, AdminCredentials, ApplianceExtension, ClientError, Endpoint,
    EndpointError,
};
use bloomery_pairing::wire::APPLIANCE_PORT;
use data_encoding::BASE64;
use kube::config::{AuthInfo, Cluster, KubeConfigOptions, Kubeconfig, KubeconfigError};
use secrecy::ExposeSecret;

/// Which appliance to talk to, and as whom
#[derive(Debug, clap::Args)]
pub struct ConnectionArgs {
    /// Kubeconfig with the admin identity [default: $KUBECONFIG, then ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context in it [default: its current one]
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Where the appliance is, if not where the kubeconfig says
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) endpoint: Option<Endpoint>,
}

/// A context of a kubeconfig, resolved.
pub(crate) struct Connection {
    /// Where the kubeconfig is, for people.
    place: String,
    kubeconfig: Kubeconfig,
    context: String,
    endpoint: Endpoint,
    credentials: AdminCredentials,
    /// The file that it was read from, if it was one that was named.
    file: Option<PathBuf>,
}

/// From when on a certificate that expires is spoken of.
const EXPIRES_SOON: Duration = Duration::from_hours(21 * 24);

impl ConnectionArgs {
    pub(crate) fn resolve(self) -> Result<Connection, ConnectionError> {
        let Self { kubeconfig, context, endpoint } = self;
        let place = place(kubeconfig.as_deref());
        let file = kubeconfig.clone().or_else(single_file);
        let kubeconfig = match kubeconfig {
            Some(file) => Kubeconfig::read_from(file),
            None => Kubeconfig::read(),
        }
        .map_err(|error| ConnectionError::kubeconfig(&place, error))?;
        let context = context
            .or_else(|| kubeconfig.current_context.clone())
            .ok_or_else(|| no_context("a current context".to_owned(), &place, &kubeconfig))?;
        let (cluster, user) = find(&place, &kubeconfig, &context)?;
        let endpoint = endpoint.map_or_else(|| appliance_endpoint(&place, cluster), Ok)?;
        let credentials = credentials(&place, cluster, user)?;
        let connection = Connection { place, kubeconfig, context, endpoint, credentials, file };
        connection.check_expiry(SystemTime::now())?;
        Ok(connection)
    }
}

impl Connection {
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The context's name.
    pub(crate) fn context(&self) -> &str {
        &self.context
    }

    /// The file that the context came from, when there is only one.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The name of the context's user entry.
    pub(crate) fn user_entry(&self) -> Option<&str> {
        let found = self.kubeconfig.contexts.iter().find(|entry| entry.name == self.context);
        found.and_then(|entry| entry.context.as_ref()).and_then(|context| context.user.as_deref())
    }

    /// The pairing whose certificate the context has.
    pub(crate) fn pairing(&self) -> Option<PairingId> {
        client::pairing_of(&self.credentials.client_certificate)
    }

    /// Refuses a certificate that has expired, and speaks up before one does.
    fn check_expiry(&self, now: SystemTime) -> Result<(), ConnectionError> {
        let Some(expires) = client::expiry(&self.credentials.client_certificate) else { return Ok(()) };
        match expires.duration_since(now) {
            Err(_) => Err(ConnectionError::Expired { place: self.place.clone(), expired: date(expires) }),
            Ok(left) => {
                if left < EXPIRES_SOON {
                    eprintln!(
                        "The certificate in {} expires on {}: `bloomery kubeconfig --renew` renews it.",
                        self.place,
                        date(expires)
                    );
                }
                Ok(())
            }
        }
    }

    pub(crate) fn appliance(&self) -> Result<AdminClient, ConnectionError> {
        AdminClient::new(self.endpoint.clone(), &self.credentials)
            .map_err(|source| ConnectionError::Credentials { source: Box::new(source) })
    }

    pub(crate) async fn kubernetes(self) -> Result<kube::Client, ConnectionError> {
        let options = KubeConfigOptions { context: Some(self.context), ..KubeConfigOptions::default() };
        let config = kube::Config::from_custom_kubeconfig(self.kubeconfig, &options)
            .await
            .map_err(|error| ConnectionError::kubeconfig(&self.place, error))?;
        kube::Client::try_from(config)
            .map_err(|source| ConnectionError::Kubernetes { source: Box::new(source) })
    }
}

fn date(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

/// The one file that `Kubeconfig::read` reads, if it is one.
fn single_file() -> Option<PathBuf> {
    match env::var("KUBECONFIG").ok().filter(|files| !files.is_empty()) {
        Some(files) => {
            let mut files = env::split_paths(&files).filter(|file| !file.as_os_str().is_empty());
            let only = files.next();
            if files.next().is_some() { None } else { only }
        }
        None => env::var_os("HOME").map(|home| PathBuf::from(home).join(".kube/config")),
    }
}

/// Where the kubeconfig is looked for, as kubectl does.
fn place(given: Option<&Path>) -> String {
    let named = || env::var("KUBECONFIG").ok().filter(|files| !files.is_empty());
    match given {
        Some(file) => file.display().to_string(),
        None => named().unwrap_or_else(|| "~/.kube/config".to_owned()),
    }
}

fn no_context(what: String, place: &str, kubeconfig: &Kubeconfig) -> ConnectionError {
    let names: Vec<&str> = kubeconfig.contexts.iter().map(|entry| entry.name.as_str()).collect();
    let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    ConnectionError::Context { what, place: place.to_owned(), known }
}

fn find<'a>(
    place: &str,
    kubeconfig: &'a Kubeconfig,
    context: &str,
) -> Result<(&'a Cluster, &'a AuthInfo), ConnectionError> {
    let missing = |what| ConnectionError::Missing { what, place: place.to_owned() };
    let found = kubeconfig.contexts.iter().find(|entry| entry.name == context);
    let context = found
        .and_then(|entry| entry.context.as_ref())
        .ok_or_else(|| no_context(format!("the context {context:?}"), place, kubeconfig))?;
    let cluster = kubeconfig.clusters.iter().find(|entry| entry.name == context.cluster);
    let user = kubeconfig.auth_infos.iter().find(|entry| Some(&entry.name) == context.user.as_ref());
    Ok((
        cluster.and_then(|entry| entry.cluster.as_ref()).ok_or_else(|| missing("cluster of the context"))?,
        user.and_then(|entry| entry.auth_info.as_ref()).ok_or_else(|| missing("user of the context"))?,
    ))
}

/// As pairing noted it down; in kubeconfigs that were made otherwise, the API server's host.
fn appliance_endpoint(place: &str, cluster: &Cluster) -> Result<Endpoint, ConnectionError> {
    let extension = cluster
        .extensions
        .iter()
        .flatten()
        .find(|entry| entry.name == APPLIANCE_EXTENSION)
        .and_then(|entry| serde_json::from_value::<ApplianceExtension>(entry.extension.clone()).ok());
    let endpoint = |source| ConnectionError::Endpoint { place: place.to_owned(), source };
    if let Some(ApplianceExtension { endpoint: text }) = extension {
        return text.parse().map_err(endpoint);
    }
    let missing = || ConnectionError::Missing { what: "server of the cluster", place: place.to_owned() };
    let server = cluster.server.as_deref().ok_or_else(missing)?;
    let server: Endpoint = server.parse().map_err(endpoint)?;
    Endpoint::new(server.host(), APPLIANCE_PORT).map_err(endpoint)
}

fn credentials(place: &str, cluster: &Cluster, user: &AuthInfo) -> Result<AdminCredentials, ConnectionError> {
    let pem = |what, data, file| pem(place, what, data, file);
    Ok(AdminCredentials {
        certificate_authority: pem(
            "certificate authority",
            cluster.certificate_authority_data.as_deref(),
            cluster.certificate_authority.as_deref(),
        )?,
        client_certificate: pem(
            "client certificate",
            user.client_certificate_data.as_deref(),
            user.client_certificate.as_deref(),
        )?,
        client_key: pem(
            "client key",
            user.client_key_data.as_ref().map(ExposeSecret::expose_secret),
            user.client_key.as_deref(),
        )?,
        tls_server_name: cluster.tls_server_name.clone(),
    })
}

/// PEM that a kubeconfig carries either itself, in base64, or by the name of a file.
fn pem(
    place: &str,
    what: &'static str,
    data: Option<&str>,
    file: Option<&str>,
) -> Result<String, ConnectionError> {
    let place = || place.to_owned();
    if let Some(data) = data {
        let decoded = BASE64.decode(data.as_bytes()).ok();
        return decoded
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| ConnectionError::Garbled { what, place: place() });
    }
    let file = file.ok_or_else(|| ConnectionError::Missing { what, place: place() })?;
    fs::read_to_string(file).map_err(|source| ConnectionError::Read { what, file: file.into(), source })
}

/// Why a kubeconfig does not lead to an appliance.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    #[error(
        "failed to read the kubeconfig {} (make one with `bloomery kubeconfig`, or name another with --kubeconfig)",
        file.display()
    )]
    ReadKubeconfig { file: PathBuf, source: io::Error },
    /// It is none, or none that can be used.
    #[error(
        "failed to use the kubeconfig {place}: {reason} (make one with `bloomery kubeconfig`, or name another with \
         --kubeconfig)"
    )]
    Kubeconfig {
        place: String,
        /// kube's words, which hold their causes' and may be many lines: the first.
        reason: String,
    },
    /// Its certificate has expired.
    #[error(
        "failed to use the kubeconfig {place}: its certificate expired on {expired} and cannot be renewed any more; \
         pair anew: `bloomery kubeconfig --endpoint HOST --code -` with the code on the appliance's console"
    )]
    Expired { place: String, expired: String },
    /// It has no such context.
    #[error("failed to find {what} in the kubeconfig {place}; name one with --context; there: {known}")]
    Context {
        what: String,
        place: String,
        /// Those that it has.
        known: String,
    },
    /// Something is not in it.
    #[error(
        "failed to find the {what} in the kubeconfig {place}; one made with `bloomery kubeconfig` has it"
    )]
    Missing { what: &'static str, place: String },
    /// Something in it is neither base64 nor PEM.
    #[error("failed to decode the {what} in the kubeconfig {place}; make it anew with `bloomery kubeconfig`")]
    Garbled { what: &'static str, place: String },
    /// A file that it names cannot be read.
    #[error("failed to read the {what} from {}", file.display())]
    Read { what: &'static str, file: PathBuf, source: io::Error },
    /// The server in it is not a host.
    #[error("failed to find the appliance's host in the kubeconfig {place} (--endpoint says it instead)")]
    Endpoint { place: String, source: EndpointError },
    /// The identity in it cannot be used.
    #[error("failed to use the identity in the kubeconfig")]
    Credentials { source: Box<ClientError> },
    /// No Kubernetes client can be made of it.
    #[error("failed to make a Kubernetes client")]
    Kubernetes { source: Box<kube::Error> },
}

impl ConnectionError {
    fn kubeconfig(place: &str, error: KubeconfigError) -> Self {
        match error {
            KubeconfigError::ReadConfig(source, file) => Self::ReadKubeconfig { file, source },
            other => {
                let reason = other.to_string().lines().next().unwrap_or_default().to_owned();
                Self::Kubeconfig { place: place.to_owned(), reason }
            }
        }
    }
}
