//! From a kubeconfig to the two interfaces of an appliance: its own HTTPS and the Kubernetes API.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use std::{env, fs};

use anyhow::{Context as _, anyhow, bail};
use bloomery_pairing::PairingId;
use bloomery_pairing::client::{
    self, APPLIANCE_EXTENSION, AdminClient, AdminCredentials, ApplianceExtension, Endpoint,
};
use bloomery_pairing::wire::APPLIANCE_PORT;
use data_encoding::BASE64;
use kube::config::{AuthInfo, Cluster, KubeConfigOptions, Kubeconfig, KubeconfigError};
use secrecy::ExposeSecret;

use crate::output::Format;

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

// What most commands take; a doc comment would be the help of those that take nothing else.
#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    /// How to print the result
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Format,
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
    /// The appliance's own interface.
    pub(crate) fn appliance(self) -> anyhow::Result<(AdminClient, Connection)> {
        let connection = self.resolve();
        let found = connection.and_then(|connection| Ok((connection.appliance()?, connection)));
        found.context("failed to find the appliance")
    }

    /// The Kubernetes API.
    pub(crate) async fn kubernetes(self) -> anyhow::Result<kube::Client> {
        self.resolve().context("failed to reach the Kubernetes API")?.kubernetes().await
    }

    pub(crate) fn resolve(self) -> anyhow::Result<Connection> {
        let Self { kubeconfig, context, endpoint } = self;
        let place = place(kubeconfig.as_deref());
        let file = kubeconfig.clone().or_else(single_file);
        let kubeconfig = match kubeconfig {
            Some(file) => Kubeconfig::read_from(file),
            None => Kubeconfig::read(),
        }
        .map_err(|error| unusable(&place, error))?;
        let context = context
            .or_else(|| kubeconfig.current_context.clone())
            .ok_or_else(|| no_context("a current context", &place, &kubeconfig))?;
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
    fn check_expiry(&self, now: SystemTime) -> anyhow::Result<()> {
        let Some(expires) = client::expiry(&self.credentials.client_certificate) else { return Ok(()) };
        let (place, date) = (&self.place, humantime::format_rfc3339_seconds(expires));
        let Ok(left) = expires.duration_since(now) else {
            bail!(
                "failed to use the kubeconfig {place}: its certificate expired on {date} and cannot be renewed any \
                 more; pair anew: `bloomery kubeconfig --endpoint HOST --code -` with the code on the appliance's console"
            );
        };
        if left < EXPIRES_SOON {
            eprintln!(
                "The certificate in {place} expires on {date}: `bloomery kubeconfig --renew` renews it."
            );
        }
        Ok(())
    }

    pub(crate) fn appliance(&self) -> anyhow::Result<AdminClient> {
        AdminClient::new(self.endpoint.clone(), &self.credentials)
            .context("failed to use the identity in the kubeconfig")
    }

    pub(crate) async fn kubernetes(self) -> anyhow::Result<kube::Client> {
        let made = async {
            let options = KubeConfigOptions { context: Some(self.context), ..KubeConfigOptions::default() };
            let config = kube::Config::from_custom_kubeconfig(self.kubeconfig, &options)
                .await
                .map_err(|error| unusable(&self.place, error))?;
            kube::Client::try_from(config).context("failed to make a Kubernetes client")
        };
        made.await.context("failed to reach the Kubernetes API")
    }
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

fn no_context(what: &str, place: &str, kubeconfig: &Kubeconfig) -> anyhow::Error {
    let names: Vec<&str> = kubeconfig.contexts.iter().map(|entry| entry.name.as_str()).collect();
    let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    anyhow!("failed to find {what} in the kubeconfig {place}; name one with --context; there: {known}")
}

fn missing(what: &str, place: &str) -> anyhow::Error {
    anyhow!("failed to find the {what} in the kubeconfig {place}; one made with `bloomery kubeconfig` has it")
}

fn unusable(place: &str, error: KubeconfigError) -> anyhow::Error {
    const HINT: &str = "(make one with `bloomery kubeconfig`, or name another with --kubeconfig)";
    match error {
        KubeconfigError::ReadConfig(source, file) => anyhow::Error::new(source)
            .context(format!("failed to read the kubeconfig {} {HINT}", file.display())),
        // kube's words hold their causes' and may be many lines: the first.
        other => {
            let reason = other.to_string().lines().next().unwrap_or_default().to_owned();
            anyhow!("failed to use the kubeconfig {place}: {reason} {HINT}")
        }
    }
}

fn find<'a>(
    place: &str,
    kubeconfig: &'a Kubeconfig,
    context: &str,
) -> anyhow::Result<(&'a Cluster, &'a AuthInfo)> {
    let missing = |what| missing(what, place);
    let found = kubeconfig.contexts.iter().find(|entry| entry.name == context);
    let context = found
        .and_then(|entry| entry.context.as_ref())
        .ok_or_else(|| no_context(&format!("the context {context:?}"), place, kubeconfig))?;
    let cluster = kubeconfig.clusters.iter().find(|entry| entry.name == context.cluster);
    let user = kubeconfig.auth_infos.iter().find(|entry| Some(&entry.name) == context.user.as_ref());
    Ok((
        cluster.and_then(|entry| entry.cluster.as_ref()).ok_or_else(|| missing("cluster of the context"))?,
        user.and_then(|entry| entry.auth_info.as_ref()).ok_or_else(|| missing("user of the context"))?,
    ))
}

/// As pairing noted it down; in kubeconfigs that were made otherwise, the API server's host.
fn appliance_endpoint(place: &str, cluster: &Cluster) -> anyhow::Result<Endpoint> {
    let extension = cluster
        .extensions
        .iter()
        .flatten()
        .find(|entry| entry.name == APPLIANCE_EXTENSION)
        .and_then(|entry| serde_json::from_value::<ApplianceExtension>(entry.extension.clone()).ok());
    let found = if let Some(ApplianceExtension { endpoint }) = extension {
        endpoint.parse()
    } else {
        let server = cluster.server.as_deref().ok_or_else(|| missing("server of the cluster", place))?;
        server.parse().and_then(|server: Endpoint| Endpoint::new(server.host(), APPLIANCE_PORT))
    };
    found.with_context(|| {
        format!("failed to find the appliance's host in the kubeconfig {place} (--endpoint says it instead)")
    })
}

fn credentials(place: &str, cluster: &Cluster, user: &AuthInfo) -> anyhow::Result<AdminCredentials> {
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
fn pem(place: &str, what: &str, data: Option<&str>, file: Option<&str>) -> anyhow::Result<String> {
    if let Some(data) = data {
        let decoded = BASE64.decode(data.as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        return decoded.with_context(|| {
            format!("failed to decode the {what} in the kubeconfig {place}; make it anew with `bloomery kubeconfig`")
        });
    }
    let file = file.ok_or_else(|| missing(what, place))?;
    fs::read_to_string(file).with_context(|| format!("failed to read the {what} from {file}"))
}
