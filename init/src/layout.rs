//! Where everything is: the paths of DESIGN.md §1 and the ports of its table.
//!
//! All paths come from here, so that a test can have a plane of its own under a temporary directory. It must
//! never touch the file system.

use std::path::{Path, PathBuf};

/// Kubernetes API, on all addresses.
pub const KUBERNETES_API_PORT: u16 = 6443;
/// Appliance HTTPS, on all addresses.
pub const APPLIANCE_PORT: u16 = 8443;
/// etcd's clients, loopback.
pub const ETCD_CLIENT_PORT: u16 = 2379;
/// etcd's peers: there are none, but it listens; loopback.
pub const ETCD_PEER_PORT: u16 = 2380;
/// etcd's health and metrics, loopback, plain HTTP.
pub const ETCD_HEALTH_PORT: u16 = 2381;
/// kube-controller-manager's health, loopback.
pub const KCM_PORT: u16 = 10257;
/// Cluster API's webhooks, loopback.
pub const CLUSTER_API_WEBHOOK_PORT: u16 = 9443;
/// Cluster API's health, loopback.
pub const CLUSTER_API_HEALTH_PORT: u16 = 9440;
/// Our controllers' conversion webhooks, loopback.
pub const CONTROLLERS_WEBHOOK_PORT: u16 = 9445;
/// Our controllers' health and metrics, loopback.
pub const CONTROLLERS_HEALTH_PORT: u16 = 9441;
/// The boot services' health and metrics, loopback.
pub const BOOTSVC_HEALTH_PORT: u16 = 9442;
/// The appliance's health, loopback.
pub const APPLIANCE_HEALTH_PORT: u16 = 9444;
/// SideroLink's health and metrics, loopback.
pub const SIDEROLINK_HEALTH_PORT: u16 = 9446;
/// Where the boot services pass on nodes' calls for a tunnel, loopback.
pub const SIDEROLINK_PROVISION_PORT: u16 = 4000;

/// Where programs, shared files, state and run-time files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub bin: PathBuf,
    /// Files of the image that programs read.
    pub share: PathBuf,
    /// What the image knows of itself.
    pub etc: PathBuf,
    pub var: PathBuf,
    /// A tmpfs.
    pub run: PathBuf,
    /// The image's FAT partition.
    pub boot: PathBuf,
}

impl Layout {
    /// The image's.
    pub fn system() -> Self {
        Self::under(Path::new("/"))
    }

    /// The same tree below another directory.
    pub fn under(root: &Path) -> Self {
        Self {
            bin: root.join("usr/bin"),
            share: root.join("usr/share/bloomery"),
            etc: root.join("etc"),
            var: root.join("var"),
            run: root.join("run/bloomery"),
            boot: root.join("boot"),
        }
    }

    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// What `controllers apply` applies.
    pub fn manifests(&self) -> PathBuf {
        self.share.join("manifests")
    }

    /// Everything that must survive a boot, apart from logs.
    pub fn state(&self) -> PathBuf {
        self.var.join("lib/bloomery")
    }

    /// Authorities and keys made once; root only.
    pub fn pki(&self) -> PathBuf {
        self.state().join("pki")
    }

    /// The key that Secrets are encrypted with; root only.
    pub fn encryption_key(&self) -> PathBuf {
        self.pki().join("encryption.key")
    }

    /// The name of that key: once it is there, so must be the key.
    pub fn encryption_key_name(&self) -> PathBuf {
        self.state().join("encryption-key-name")
    }

    pub fn etcd_data(&self) -> PathBuf {
        self.state().join("etcd")
    }

    /// Environment assets: the controllers write them, the boot services serve them.
    pub fn env(&self) -> PathBuf {
        self.state().join("env")
    }

    /// Files that Environments may name by `file:` URLs.
    pub fn assets(&self) -> PathBuf {
        self.state().join("assets")
    }

    /// The identity of this plane: the controllers write it, the boot services read it.
    pub fn plane(&self) -> PathBuf {
        self.state().join("plane")
    }

    /// The secret half of the pairing code.
    pub fn pairing_secret(&self) -> PathBuf {
        self.pki().join("pairing-secret")
    }

    /// Where earlier versions kept it, in the hands of the appliance server.
    pub fn former_pairing_secret(&self) -> PathBuf {
        self.state().join("appliance/pairing-secret")
    }

    /// The configuration on the image's FAT partition.
    pub fn config(&self) -> PathBuf {
        self.boot.join(bloomery_config::FILE_NAME)
    }

    /// The last configuration that parsed.
    pub fn last_good_config(&self) -> PathBuf {
        self.state().join("config/last-good.yaml")
    }

    pub fn logs(&self) -> PathBuf {
        self.var.join("log/bloomery")
    }

    /// Kernel logs of machines, from the log receiver.
    pub fn machine_logs(&self) -> PathBuf {
        self.logs().join("machines")
    }

    /// The API server's audit log.
    pub fn audit_log(&self) -> PathBuf {
        self.logs().join("audit/kube-apiserver.log")
    }

    pub fn service(&self, name: &str) -> PathBuf {
        self.run.join(name)
    }

    /// A file in a service's run-time directory.
    pub fn service_file(&self, name: &str, file: &str) -> PathBuf {
        self.service(name).join(file)
    }

    /// What PID 1 tells others about itself.
    pub fn status(&self) -> PathBuf {
        self.run.join("status.json")
    }

    /// The image's version and build date.
    pub fn release(&self) -> PathBuf {
        self.etc.join("bloomery-release")
    }
}
