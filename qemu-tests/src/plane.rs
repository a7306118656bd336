//! The appliance's Kubernetes API as seen from the host.
//!
//! Credentials come from pairing (`bloomery kubeconfig`); this file only points them at the forwarded port.

use anyhow::{Context, Result};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_norway::Value;
use std::{io::Write, net::SocketAddr, os::unix::fs::OpenOptionsExt, path::Path, time::Duration};

/// Limit of one request: an API server under emulation that has just started needs some seconds per request.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// `kubeconfig` with every cluster's server replaced by `https://API`.
///
/// # Errors
/// The text is no kubeconfig.
pub fn repoint(kubeconfig: &str, api: SocketAddr) -> Result<String> {
    let mut document: Value = serde_norway::from_str(kubeconfig).context("failed to parse the kubeconfig")?;
    let clusters = document
        .get_mut("clusters")
        .and_then(Value::as_sequence_mut)
        .context("failed to find the kubeconfig's clusters")?;
    for entry in clusters {
        let cluster = entry
            .get_mut("cluster")
            .and_then(Value::as_mapping_mut)
            .context("failed to find the kubeconfig's cluster")?;
        cluster.insert("server".into(), format!("https://{api}").into());
    }
    serde_norway::to_string(&document).context("failed to write the kubeconfig")
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
    let parsed = Kubeconfig::from_yaml(kubeconfig).context("failed to parse the kubeconfig")?;
    let mut config = Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
        .await
        .context("failed to use the kubeconfig")?;
    config.connect_timeout = Some(REQUEST_LIMIT);
    config.read_timeout = Some(REQUEST_LIMIT);
    Client::try_from(config).context("failed to make a Kubernetes client")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_server_changes() {
        let text = "apiVersion: v1\nkind: Config\nclusters:\n- name: bloomery\n  cluster:\n    \
                    certificate-authority-data: QQ==\n    server: https://127.0.0.1:6443\nusers:\n- name: admin\n  \
                    user:\n    client-key-data: Qg==\n";
        let got = repoint(text, ([127, 0, 0, 1], 16443).into()).expect("a kubeconfig");
        assert_eq!(got, text.replace("127.0.0.1:6443", "127.0.0.1:16443"));
    }

    #[test]
    fn other_documents_are_refused() {
        for text in ["", "a: 1", "clusters: 3", "clusters:\n- name: x\n", "\t"] {
            assert!(repoint(text, ([127, 0, 0, 1], 1).into()).is_err(), "{text:?}");
        }
    }
}
