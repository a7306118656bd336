//! The appliance's Kubernetes API as seen from the host.
//!
//! Credentials come from pairing, as with `bloomery kubeconfig`; only the ports are the forwarded ones.

use crate::{contract::PAIRING_LINE, forward::Forwards};
use anyhow::{Context, Result};
use bloomery_pairing::{
    Code,
    client::{Endpoint, Kubeconfig},
};
use kube::{Client, Config, config::KubeConfigOptions};
use std::{io::Write, os::unix::fs::OpenOptionsExt, path::Path, time::Duration};

/// Name of cluster, user and context in the kubeconfig.
const CONTEXT: &str = "bloomery-lab";
/// Limit of one request: an API server under emulation that has just started needs some seconds per request.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// Trades the console's pairing code for a kubeconfig whose server is the forwarded API port.
///
/// # Errors
/// `line` holds no pairing code, or the appliance cannot be reached, is another one, or refuses.
pub async fn pair(line: &str, forwards: &Forwards) -> Result<String> {
    let code = code_in(line)?;
    let local = forwards.appliance.local;
    let endpoint = Endpoint::new(&local.ip().to_string(), local.port())
        .context("failed to name the appliance's port")?;
    let identity =
        Box::pin(bloomery_pairing::client::pair(&endpoint, &code)).await.context("failed to pair")?;
    Kubeconfig::new(CONTEXT, &endpoint, &identity, Some(forwards.api.local.port()))
        .to_yaml()
        .context("failed to write the kubeconfig")
}

/// The pairing code in a console line.
fn code_in(line: &str) -> Result<Code> {
    let (_, code) =
        line.split_once(PAIRING_LINE).context("failed to find a pairing code in the console line")?;
    code.trim().parse().context("failed to parse the pairing code")
}

/// Writes a kubeconfig that only its owner can read: it holds an administrator's key.
///
/// # Errors
/// The file cannot be written.
pub fn save(kubeconfig: &str, path: &Path) -> Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("failed to make {}", path.display()))?;
    file.write_all(kubeconfig.as_bytes()).with_context(|| format!("failed to write {}", path.display()))
}

/// A client for the kubeconfig text.
///
/// # Errors
/// The text is no kubeconfig, or its certificates are unreadable.
pub async fn client(kubeconfig: &str) -> Result<Client> {
    Client::try_from(config(kubeconfig).await?).context("failed to make a Kubernetes client")
}

/// A client for the appliance's own port (metrics, traces), as the same administrator.
///
/// # Errors
/// The text is no kubeconfig, or its certificates are unreadable.
pub async fn appliance(kubeconfig: &str, forwards: &Forwards) -> Result<Client> {
    let mut config = config(kubeconfig).await?;
    let url = format!("https://{}", forwards.appliance.local);
    config.cluster_url = url.parse().context("failed to name the appliance's port")?;
    Client::try_from(config).context("failed to make a client for the appliance")
}

async fn config(kubeconfig: &str) -> Result<Config> {
    let parsed = kube::config::Kubeconfig::from_yaml(kubeconfig).context("failed to parse the kubeconfig")?;
    let mut config = Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
        .await
        .context("failed to use the kubeconfig")?;
    config.connect_timeout = Some(REQUEST_LIMIT);
    config.read_timeout = Some(REQUEST_LIMIT);
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bloomery_pairing::{Fingerprint, Secret};

    #[test]
    fn code_is_found_behind_whatever_the_kernel_prints_before_it() {
        let code =
            Code::new(Secret::generate().expect("randomness"), Fingerprint::of_public_key(b"a public key"));
        for before in ["", "[   12.345678] bloomery: "] {
            let line = format!("{before}{PAIRING_LINE}{code} ");
            assert_eq!(code_in(&line).expect("a code").to_string(), code.to_string());
        }
        for line in ["", "Pairing code:", "Pairing code: ", "Pairing code: nonsense"] {
            assert!(code_in(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn kubeconfig_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("kubeconfig");
        save("secret", &path).expect("a write");
        assert_eq!(std::fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
    }
}
