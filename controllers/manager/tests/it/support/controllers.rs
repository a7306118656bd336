//! The `controllers` program under test, with ports and directories of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use bloomery_testkit::{ControlPlane, Process, eventually, free_ports, http};

/// Identity that the RBAC manifest gives rights to.
const USER: &str = "bloomery:controllers";
/// Where the manifests say the conversion webhook is.
const PUBLISHED_PORT: &str = ":9445/";

/// What `apply` did.
pub(crate) struct Applied {
    /// Whether it exited with 0.
    pub(crate) success: bool,
    /// What it wrote.
    pub(crate) output: String,
}

/// A plane whose manifests name a free webhook port.
pub(crate) struct Setup {
    /// Directory of the manifests to apply.
    pub(crate) manifests: PathBuf,
    webhook_port: u16,
}

impl Setup {
    /// Copies the product's manifests with the webhook's port changed.
    pub(crate) fn new(plane: &ControlPlane) -> Self {
        let [webhook_port] = free_ports();
        let manifests = plane.directory().join("manifests");
        std::fs::create_dir(&manifests).unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for directory in [root.join("../api/crds"), root.join("manifests")] {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let text = std::fs::read_to_string(&path).unwrap();
                let text = text.replace(PUBLISHED_PORT, &format!(":{webhook_port}/"));
                std::fs::write(manifests.join(path.file_name().unwrap()), text).unwrap();
            }
        }
        Self { manifests, webhook_port }
    }

    /// Runs `controllers apply` to its end.
    pub(crate) fn apply(&self, plane: &ControlPlane) -> Applied {
        let output = Command::new(env!("CARGO_BIN_EXE_controllers"))
            .args(["apply", "--timeout", "60"])
            .arg("--kubeconfig")
            .arg(plane.kubeconfig("bloomery:apply", &["system:masters"]))
            .arg("--manifests")
            .arg(&self.manifests)
            .arg("--ca")
            .arg(plane.authority.file())
            .output()
            .unwrap();
        Applied {
            success: output.status.success(),
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts `controllers run` with its own identity and waits until it is ready.
    pub(crate) async fn run(&self, plane: &ControlPlane) -> Controllers {
        self.run_as(plane, "controllers", self.webhook_port, &[]).await
    }

    /// A second one beside the first: the same plane, with a webhook that nobody calls.
    pub(crate) async fn run_beside(&self, plane: &ControlPlane, flags: &[&str]) -> Controllers {
        let [webhook_port] = free_ports();
        self.run_as(plane, "controllers-2", webhook_port, flags).await
    }

    /// The first one, with further flags.
    pub(crate) async fn run_with(&self, plane: &ControlPlane, flags: &[&str]) -> Controllers {
        self.run_as(plane, "controllers", self.webhook_port, flags).await
    }

    async fn run_as(
        &self,
        plane: &ControlPlane,
        name: &str,
        webhook_port: u16,
        flags: &[&str],
    ) -> Controllers {
        let [health_port] = free_ports();
        let certificates = plane.directory().join("webhook");
        let environments = plane.directory().join("env");
        let assets = plane.directory().join("assets");
        let identity_of_plane = plane.directory().join("plane");
        for directory in [&certificates, &environments, &assets, &identity_of_plane] {
            std::fs::create_dir_all(directory).unwrap();
        }
        let identity = plane.authority.issue("webhook", &[]);
        std::fs::copy(identity.certificate_file, certificates.join("tls.crt")).unwrap();
        std::fs::copy(identity.key_file, certificates.join("tls.key")).unwrap();
        let kubeconfig = plane.authority.kubeconfig(USER, &[], &plane.server);
        let mut command = Command::new(env!("CARGO_BIN_EXE_controllers"));
        command.args([
            "run",
            "--log",
            "debug,kube_runtime=info,kube_client=info,hyper=info,tower=info,h2=info",
        ]);
        command.arg("--kubeconfig").arg(kubeconfig);
        command.arg("--webhook-cert-dir").arg(&certificates);
        command.arg("--webhook-port").arg(webhook_port.to_string());
        command.arg("--health-addr").arg(format!("127.0.0.1:{health_port}"));
        command.arg("--env-dir").arg(&environments);
        command.arg("--assets-dir").arg(&assets);
        command.arg("--plane-dir").arg(&identity_of_plane);
        command.arg("--talosconfig").arg(bloomery_testkit::control_plane::talosconfig());
        command.args(flags);
        let process = Process::start(name, plane.directory(), &mut command);
        let mut controllers = Controllers { process, environments, assets, webhook_port, health_port };
        controllers.wait_until_ready().await;
        controllers
    }
}

/// Talos's library, as `controllers run` asks it.
pub(crate) fn talos() -> bloomery_talosconfig::Client {
    let mut command = Command::new(env!("CARGO_BIN_EXE_controllers"));
    command.arg("talosconfig-launcher").arg(bloomery_testkit::control_plane::talosconfig());
    let launcher = bloomery_talosconfig::Launcher::start(command).unwrap();
    bloomery_talosconfig::Client::new(launcher, bloomery_talosconfig::Limits::default())
}

/// A running `controllers run`.
pub(crate) struct Controllers {
    /// The process.
    pub(crate) process: Process,
    /// Its `--env-dir`.
    pub(crate) environments: PathBuf,
    /// Its `--assets-dir`.
    pub(crate) assets: PathBuf,
    /// Port of the conversion webhook.
    pub(crate) webhook_port: u16,
    health_port: u16,
}

impl Controllers {
    /// GETs a path of the health server: status and body.
    pub(crate) async fn get(&self, path: &str) -> Result<(u16, String), String> {
        http::get(self.health_port, path).await
    }

    async fn wait_until_ready(&mut self) {
        let (process, port) = (&mut self.process, self.health_port);
        eventually("the controllers are ready", async || {
            process.assert_running();
            match http::get(port, "/readyz").await? {
                (200, _) => Ok(()),
                (code, body) => Err(format!("{code}: {body}")),
            }
        })
        .await;
    }
}
