//! A cluster's manifest as a user makes it: the real clusterctl with this build's repository, then kubectl.

use super::{parts::kubernetes_version, plane::CLASS};
use anyhow::{Context, Result, bail};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{io::AsyncWriteExt as _, process::Command};

/// A program that only reads files, or asks an API that answers.
const RUN_LIMIT: Duration = Duration::from_mins(1);

/// What is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Control planes.
    pub control_planes: u8,
    /// Workers.
    pub workers: u8,
}

/// The programs of this build.
#[derive(Debug, Clone)]
pub struct Tools {
    clusterctl: PathBuf,
    settings: PathBuf,
    kubectl: PathBuf,
    kubeconfig: PathBuf,
}

impl Tools {
    /// Those beside the image, in `out`, for the plane of a kubeconfig.
    ///
    /// # Errors
    /// One is missing.
    pub fn find(out: &Path, kubeconfig: &Path) -> Result<Self> {
        let find = |name: &str, target: &str| {
            let path = out.join(name);
            path.canonicalize().map(|_| std::path::absolute(&path).unwrap_or(path)).with_context(|| {
                format!("failed to find {name} in {}; make it with `make {target}`", out.display())
            })
        };
        Ok(Self {
            clusterctl: find("clusterctl/clusterctl", "out/clusterctl")?,
            settings: find("clusterctl/clusterctl.yaml", "out/clusterctl")?,
            kubectl: find("kubectl", "out/kubectl")?,
            kubeconfig: kubeconfig.to_owned(),
        })
    }

    /// The manifest of the cluster `name` from the repository's own template.
    ///
    /// # Errors
    /// clusterctl fails.
    pub async fn generate(&self, name: &str, shape: Shape, endpoint: SocketAddr) -> Result<String> {
        let mut command = self.clusterctl(&["generate", "cluster", name, "--infrastructure", "sidero"]);
        command
            .args(["--target-namespace", "default", "--kubernetes-version", kubernetes_version()?])
            .args(["--control-plane-machine-count", &shape.control_planes.to_string()])
            .args(["--worker-machine-count", &shape.workers.to_string()])
            .env("CONTROL_PLANE_ENDPOINT", endpoint.ip().to_string())
            .env("CONTROL_PLANE_PORT", endpoint.port().to_string())
            .env("CONTROL_PLANE_SERVERCLASS", CLASS)
            .env("WORKER_SERVERCLASS", CLASS);
        run(command, "").await
    }

    /// Runs clusterctl against the plane and gives its standard output.
    ///
    /// # Errors
    /// It fails, with its words.
    pub async fn ask_clusterctl(&self, words: &[&str]) -> Result<String> {
        run(self.clusterctl(words), "").await
    }

    fn clusterctl(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.clusterctl);
        command
            .args(words)
            .arg("--config")
            .arg(&self.settings)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            // It keeps a cache at home, and asks the Internet for newer versions of itself.
            .env("HOME", self.kubeconfig.parent().unwrap_or(Path::new("/")))
            .env("CLUSTERCTL_DISABLE_VERSIONCHECK", "true");
        command
    }

    /// Applies a manifest.
    ///
    /// # Errors
    /// The API refuses it.
    pub async fn apply(&self, manifest: &str) -> Result<String> {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(["apply", "--filename", "-"]);
        run(command, manifest).await
    }
}

/// Runs a program to its end and gives its standard output.
async fn run(mut command: Command, stdin: &str) -> Result<String> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("failed to start {program}"))?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(stdin.as_bytes()).await.with_context(|| format!("failed to feed {program}"))?;
    }
    let output = tokio::time::timeout(crate::patience::scaled(RUN_LIMIT), child.wait_with_output()).await;
    let output = output.with_context(|| format!("failed to run {program}: it does not end"))?;
    let output = output.with_context(|| format!("failed to run {program}"))?;
    if !output.status.success() {
        bail!("failed to run {program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
