//! The peer: upstream's etcd, kube-apiserver, kube-controller-manager and Cluster API manager, as they come.
//!
//! The programs are the ones of our image; only their settings are upstream's defaults. All of it listens on
//! loopback and lives in a temporary directory.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bloomery_lab::eventually;
use rcgen::{CertificateParams, KeyPair};
use tokio::process::{Child, Command};

use super::processes::{Memory, Processes};

/// The API server, natively on a busy machine.
const READY_LIMIT: Duration = Duration::from_mins(2);
/// Cluster API's kinds, which take most of the API server's memory.
const APPLY_LIMIT: Duration = Duration::from_mins(1);
/// Token of the only user; the server listens on loopback and is gone in minutes.
const TOKEN: &str = "bench";
const DEFINITION: &str = "\nkind: CustomResourceDefinition\n";

/// Starts the four, waits until they rest, reads their memory, and ends them.
pub(super) async fn measure(out: &Path, settle: Duration) -> anyhow::Result<Processes> {
    let upstream = Upstream::start(out).await?;
    eprintln!("bench: upstream's processes run; {} s of rest", settle.as_secs());
    tokio::time::sleep(settle).await;
    let mut processes = Processes::default();
    for (name, child) in &upstream.children {
        let read = child.id().map(|pid| fs::read_to_string(format!("/proc/{pid}/smaps_rollup")));
        let Some(Ok(rollup)) = read else { bail!("{name} has ended; {}", upstream.tail(name)) };
        processes.add(name, Memory::parse(&rollup)?);
    }
    Ok(processes)
}

struct Upstream {
    programs: PathBuf,
    kubectl: PathBuf,
    work: tempfile::TempDir,
    /// Killed when dropped.
    children: Vec<(&'static str, Child)>,
}

impl Upstream {
    async fn start(out: &Path) -> anyhow::Result<Self> {
        let work = tempfile::tempdir().context("failed to make a temporary directory")?;
        let mut upstream = Self {
            programs: out.join("controlplane.d"),
            kubectl: out.join("kubectl"),
            work,
            children: Vec::new(),
        };
        let (etcd, api) = (free_port()?, free_port()?);
        upstream.write_keys(api)?;
        upstream.start_etcd(etcd)?;
        upstream.start_api_server(etcd, api)?;
        eventually!("upstream's API server is ready", READY_LIMIT, None, async {
            upstream.kubectl(&["get", "--raw", "/readyz"]).await.map(Some)
        })
        .with_context(|| upstream.tail("kube-apiserver"))?;
        upstream.apply_definitions(out).await?;
        let kubeconfig = format!("--kubeconfig={}", upstream.file("kubeconfig").display());
        let port = format!("--secure-port={}", free_port()?);
        // A lease lost on a busy machine would end it; alone it needs none.
        upstream.spawn("kube-controller-manager", &[&kubeconfig, &port, "--leader-elect=false"])?;
        upstream.start_cluster_api(&kubeconfig)?;
        Ok(upstream)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        fs::write(self.file(name), text).with_context(|| format!("failed to write {name}"))
    }

    fn write_keys(&self, api: u16) -> anyhow::Result<()> {
        let key = KeyPair::generate().context("failed to make a key")?;
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()])
            .and_then(|params| params.self_signed(&key))
            .context("failed to make a certificate")?;
        self.write("tls.crt", &certificate.pem())?;
        self.write("tls.key", &key.serialize_pem())?;
        self.write("tls.pub", &key.public_key_pem())?;
        self.write("tokens.csv", &format!("{TOKEN},admin,admin,system:masters\n"))?;
        let kubeconfig = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: bench\n\
             clusters: [{{name: bench, cluster: {{server: 'https://127.0.0.1:{api}', insecure-skip-tls-verify: true}}}}]\n\
             users: [{{name: bench, user: {{token: {TOKEN}}}}}]\n\
             contexts: [{{name: bench, context: {{cluster: bench, user: bench}}}}]\n"
        );
        self.write("kubeconfig", &kubeconfig)
    }

    fn start_etcd(&mut self, client: u16) -> anyhow::Result<()> {
        let (client, peer) =
            (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{}", free_port()?));
        let data = self.file("etcd").display().to_string();
        let cluster = format!("default={peer}");
        self.spawn(
            "etcd",
            &[
                "--data-dir",
                &data,
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
                "--initial-cluster",
                &cluster,
            ],
        )
    }

    fn start_api_server(&mut self, etcd: u16, api: u16) -> anyhow::Result<()> {
        let [certificate, key, public, tokens] =
            ["tls.crt", "tls.key", "tls.pub", "tokens.csv"].map(|name| self.file(name).display().to_string());
        self.spawn(
            "kube-apiserver",
            &[
                &format!("--etcd-servers=http://127.0.0.1:{etcd}"),
                &format!("--secure-port={api}"),
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                "--endpoint-reconciler-type=none",
                &format!("--tls-cert-file={certificate}"),
                &format!("--tls-private-key-file={key}"),
                "--service-account-issuer=https://bench",
                &format!("--service-account-key-file={public}"),
                &format!("--service-account-signing-key-file={key}"),
                &format!("--token-auth-file={tokens}"),
                "--authorization-mode=RBAC",
            ],
        )
    }

    fn start_cluster_api(&mut self, kubeconfig: &str) -> anyhow::Result<()> {
        let directory = self.work.path().display().to_string();
        let ports = [free_port()?, free_port()?, free_port()?];
        self.spawn(
            "cluster-api",
            &[
                kubeconfig,
                "--leader-elect=false",
                &format!("--webhook-port={}", ports[0]),
                &format!("--webhook-cert-dir={directory}"),
                &format!("--health-addr=127.0.0.1:{}", ports[1]),
                &format!("--diagnostics-address=127.0.0.1:{}", ports[2]),
                "--insecure-diagnostics=true",
            ],
        )
    }

    /// Only the kinds: webhooks of a Service that does not exist would refuse every object.
    async fn apply_definitions(&self, out: &Path) -> anyhow::Result<()> {
        let manifest = out.join("cluster-api.yaml");
        let text = fs::read_to_string(&manifest)
            .with_context(|| format!("failed to read {}", manifest.display()))?;
        let definitions: Vec<&str> = text.split("\n---\n").filter(|part| part.contains(DEFINITION)).collect();
        if definitions.is_empty() {
            bail!("failed to find a CustomResourceDefinition in {}", manifest.display());
        }
        self.write("definitions.yaml", &definitions.join("\n---\n"))?;
        let file = self.file("definitions.yaml").display().to_string();
        eventually!("Cluster API's kinds are applied", APPLY_LIMIT, None, async {
            self.kubectl(&["apply", "--server-side", "-f", &file]).await.map(Some)
        })?;
        // The manager looks its kinds up once, at its start.
        eventually!("Cluster API's kinds are served", APPLY_LIMIT, None, async {
            self.kubectl(&["wait", "--for=condition=Established", "--timeout=5s", "crd", "--all"])
                .await
                .map(Some)
        })?;
        Ok(())
    }

    async fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let kubeconfig = self.file("kubeconfig");
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(kubeconfig).args(arguments).kill_on_drop(true);
        let output = command.output().await.context("failed to start kubectl")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    fn spawn(&mut self, name: &'static str, arguments: &[&str]) -> anyhow::Result<()> {
        let program = self.programs.join(name);
        let log = File::create(self.file(name).with_extension("log")).context("failed to make a log")?;
        let child = Command::new(&program)
            .args(arguments)
            .current_dir(self.work.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("failed to start {}; build it with `make image`", program.display()))?;
        self.children.push((name, child));
        Ok(())
    }

    fn tail(&self, name: &str) -> String {
        let log = fs::read_to_string(self.file(name).with_extension("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(5).collect();
        format!("its log ends with: {}", lines.into_iter().rev().collect::<Vec<_>>().join(" | "))
    }
}

/// A port that nothing listens on at the moment.
fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("failed to find a free port")?;
    Ok(listener.local_addr().context("failed to find a free port")?.port())
}
