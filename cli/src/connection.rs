//! From a kubeconfig to the two interfaces of an appliance: its own HTTPS and the Kubernetes API.

use std::fs;
use std::path::PathBuf;

use bloomery_pairing::client::{
    APPLIANCE_EXTENSION, AdminClient, AdminCredentials, ApplianceExtension, ClientError, Endpoint,
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
    kubeconfig: Option<PathBuf>,
    /// Context in it [default: its current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Where the appliance is, if not where the kubeconfig says
    #[arg(long, value_name = "HOST[:PORT]")]
    endpoint: Option<Endpoint>,
}

/// A context of a kubeconfig, resolved.
pub(crate) struct Connection {
    kubeconfig: Kubeconfig,
    context: String,
    endpoint: Endpoint,
    credentials: AdminCredentials,
}

impl ConnectionArgs {
    pub(crate) fn resolve(self) -> Result<Connection, ConnectionError> {
        let Self { kubeconfig, context, endpoint } = self;
        let kubeconfig = match kubeconfig {
            Some(file) => Kubeconfig::read_from(file),
            None => Kubeconfig::read(),
        }
        .map_err(|source| ConnectionError::Kubeconfig { source: Box::new(source) })?;
        let context = context
            .or_else(|| kubeconfig.current_context.clone())
            .ok_or(ConnectionError::Missing { what: "current context" })?;
        let (cluster, user) = find(&kubeconfig, &context)?;
        let endpoint = endpoint.map_or_else(|| appliance_endpoint(cluster), Ok)?;
        let credentials = credentials(cluster, user)?;
        Ok(Connection { kubeconfig, context, endpoint, credentials })
    }
}

impl Connection {
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(crate) fn appliance(&self) -> Result<AdminClient, ConnectionError> {
        AdminClient::new(self.endpoint.clone(), &self.credentials)
            .map_err(|source| ConnectionError::Credentials { source: Box::new(source) })
    }

    pub(crate) async fn kubernetes(self) -> Result<kube::Client, ConnectionError> {
        let options = KubeConfigOptions { context: Some(self.context), ..KubeConfigOptions::default() };
        let config = kube::Config::from_custom_kubeconfig(self.kubeconfig, &options)
            .await
            .map_err(|source| ConnectionError::Kubeconfig { source: Box::new(source) })?;
        kube::Client::try_from(config)
            .map_err(|source| ConnectionError::Kubernetes { source: Box::new(source) })
    }
}

fn find<'a>(
    kubeconfig: &'a Kubeconfig,
    context: &str,
) -> Result<(&'a Cluster, &'a AuthInfo), ConnectionError> {
    let missing = |what| ConnectionError::Missing { what };
    let found = kubeconfig.contexts.iter().find(|entry| entry.name == context);
    let context = found.and_then(|entry| entry.context.as_ref()).ok_or(missing("context"))?;
    let cluster = kubeconfig.clusters.iter().find(|entry| entry.name == context.cluster);
    let user = kubeconfig.auth_infos.iter().find(|entry| Some(&entry.name) == context.user.as_ref());
    Ok((
        cluster.and_then(|entry| entry.cluster.as_ref()).ok_or(missing("cluster of the context"))?,
        user.and_then(|entry| entry.auth_info.as_ref()).ok_or(missing("user of the context"))?,
    ))
}

/// As pairing noted it down; in kubeconfigs that were made otherwise, the API server's host.
fn appliance_endpoint(cluster: &Cluster) -> Result<Endpoint, ConnectionError> {
    let extension = cluster
        .extensions
        .iter()
        .flatten()
        .find(|entry| entry.name == APPLIANCE_EXTENSION)
        .and_then(|entry| serde_json::from_value::<ApplianceExtension>(entry.extension.clone()).ok());
    let endpoint = |source| ConnectionError::Endpoint { source };
    if let Some(ApplianceExtension { endpoint: text }) = extension {
        return text.parse().map_err(endpoint);
    }
    let server =
        cluster.server.as_deref().ok_or(ConnectionError::Missing { what: "server of the cluster" })?;
    let server: Endpoint = server.parse().map_err(endpoint)?;
    Endpoint::new(server.host(), APPLIANCE_PORT).map_err(endpoint)
}

fn credentials(cluster: &Cluster, user: &AuthInfo) -> Result<AdminCredentials, ConnectionError> {
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
fn pem(what: &'static str, data: Option<&str>, file: Option<&str>) -> Result<String, ConnectionError> {
    if let Some(data) = data {
        let decoded = BASE64.decode(data.as_bytes()).ok();
        return decoded
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or(ConnectionError::Garbled { what });
    }
    let file = file.ok_or(ConnectionError::Missing { what })?;
    fs::read_to_string(file).map_err(|source| ConnectionError::Read { what, file: file.into(), source })
}

/// Why a kubeconfig does not lead to an appliance.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// It cannot be read.
    #[error("failed to use the kubeconfig (make one with `bloomery kubeconfig`, name it with --kubeconfig)")]
    Kubeconfig {
        /// Why.
        source: Box<KubeconfigError>,
    },
    /// Something is not in it.
    #[error("failed to find the {what} in the kubeconfig")]
    Missing {
        /// What.
        what: &'static str,
    },
    /// Something in it is neither base64 nor PEM.
    #[error("failed to decode the {what} in the kubeconfig")]
    Garbled {
        /// What.
        what: &'static str,
    },
    /// A file that it names cannot be read.
    #[error("failed to read the {what} from {}", file.display())]
    Read {
        /// What.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The server in it is not a host.
    #[error("failed to find the appliance's host in the kubeconfig")]
    Endpoint {
        /// Why.
        source: EndpointError,
    },
    /// The identity in it cannot be used.
    #[error("failed to use the identity in the kubeconfig")]
    Credentials {
        /// Why.
        source: Box<ClientError>,
    },
    /// No Kubernetes client can be made of it.
    #[error("failed to make a Kubernetes client")]
    Kubernetes {
        /// Why.
        source: Box<kube::Error>,
    },
}
