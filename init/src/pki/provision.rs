//! Puts each service's certificates, keys and kubeconfig into its run-time directory.
//!
//! Every file belongs to its service's user alone. The directories are in memory and are made anew at each boot.

use super::identities::{self, CLIENTS};
use super::leaf::{Issued, Leaf};
use super::{Error, Pki, kubeconfig};
use crate::accounts::{self, Accounts, User};
use crate::files;
use crate::layout::Layout;
use std::net::IpAddr;
use std::path::Path;
use time::OffsetDateTime;

/// The first address of the service network, which Kubernetes gives to itself.
const KUBERNETES_SERVICE_ADDRESS: &str = "10.96.0.1";
/// Names of the API server inside of a cluster, which clients may have been told.
const KUBERNETES_NAMES: [&str; 4] =
    ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];
/// Everything may be asked for by these.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Anonymous requests: health and nothing else.
const AUTHENTICATION: &str = "apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
anonymous:
  enabled: true
  conditions:
  - path: /livez
  - path: /readyz
  - path: /healthz
";

/// What the plane is called by others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    pub hostname: String,
    /// All addresses but loopback's and link-local ones.
    pub addresses: Vec<IpAddr>,
    /// `advertisedEndpoint`.
    pub endpoint: Option<String>,
}

impl Names {
    /// For the certificates that others see.
    fn public(&self) -> Vec<String> {
        let mut names: Vec<String> = LOCAL_NAMES.iter().map(|name| (*name).to_owned()).collect();
        names.push(self.hostname.clone());
        names.extend(self.endpoint.clone());
        names.extend(self.addresses.iter().map(ToString::to_string));
        names.dedup();
        names
    }
}

/// Writes run-time files for services.
#[derive(Debug, Clone, Copy)]
pub struct Provisioner<'a> {
    pub pki: &'a Pki,
    pub layout: &'a Layout,
    /// Whether they are given away.
    pub accounts: Accounts,
    /// When they start to hold.
    pub now: OffsetDateTime,
}

impl Provisioner<'_> {
    /// Everything, for every service.
    ///
    /// # Errors
    /// The first one; some files may have been written then.
    pub fn everything(&self, names: &Names) -> Result<(), Error> {
        self.etcd()?;
        self.kube_apiserver()?;
        for (service, user) in [
            ("kube-controller-manager", accounts::KCM),
            ("cluster-api", accounts::CAPI),
            ("controllers", accounts::CONTROLLERS),
        ] {
            let issued = self.loopback_server(service)?;
            let directory = self.directory(service, user)?;
            self.write_pair(&directory, "tls", &issued, user)?;
            self.write(&directory.join("ca.crt"), self.pki.ca.certificate(), user)?;
        }
        for client in CLIENTS {
            self.client(&client)?;
        }
        self.appliance_directory()?;
        self.serving(names)
    }

    /// The certificates that carry the plane's names and addresses. The API server and the appliance notice new
    /// files by themselves.
    pub fn serving(&self, names: &Names) -> Result<(), Error> {
        let mut api_names = names.public();
        api_names.extend(KUBERNETES_NAMES.iter().map(|name| (*name).to_owned()));
        api_names.push(KUBERNETES_SERVICE_ADDRESS.to_owned());
        let issued = self.server("kube-apiserver", api_names).issue(&self.pki.ca)?;
        let directory = self.layout.service("kube-apiserver");
        self.write_pair(&directory, "tls", &issued, accounts::APISERVER)?;

        let issued = self.server("bloomery", names.public()).issue_for(&self.pki.ca, &self.pki.appliance)?;
        self.write_pair(&self.layout.service("appliance"), "tls", &issued, accounts::APPLIANCE)
    }

    pub fn client(&self, client: &identities::Client) -> Result<(), Error> {
        let directory = self.directory(client.service, client.account)?;
        let leaf = Leaf {
            common_name: client.user,
            organizations: client.groups,
            names: Vec::new(),
            server: false,
            client: true,
            now: self.now,
            lifetime: client.lifetime,
        };
        let issued = leaf.issue(&self.pki.client_ca)?;
        let text = kubeconfig::local(client.user, self.pki.ca.certificate(), &issued);
        self.write(&directory.join("kubeconfig"), &text, client.account)?;
        self.write(&directory.join("ca.crt"), self.pki.ca.certificate(), client.account)
    }

    fn etcd(&self) -> Result<(), Error> {
        let directory = self.directory("etcd", accounts::ETCD)?;
        // Its gateway and its one-member peer list are clients of itself.
        let mut leaf = self.server("etcd", LOCAL_NAMES.iter().map(|name| (*name).to_owned()).collect());
        leaf.client = true;
        self.write_pair(&directory, "tls", &leaf.issue(&self.pki.etcd_ca)?, accounts::ETCD)?;
        self.write(&directory.join("ca.crt"), self.pki.etcd_ca.certificate(), accounts::ETCD)
    }

    fn kube_apiserver(&self) -> Result<(), Error> {
        let user = accounts::APISERVER;
        let directory = self.directory("kube-apiserver", user)?;
        let client = Leaf {
            common_name: "kube-apiserver",
            organizations: &[],
            names: Vec::new(),
            server: false,
            client: true,
            now: self.now,
            lifetime: identities::LIFETIME,
        };
        self.write_pair(&directory, "etcd", &client.issue(&self.pki.etcd_ca)?, user)?;
        let key = &self.pki.service_account;
        for (file, text) in [
            ("etcd-ca.crt", self.pki.etcd_ca.certificate()),
            ("ca.crt", self.pki.ca.certificate()),
            ("sa.key", &key.serialize_pem()),
            ("sa.pub", &key.public_key_pem()),
            ("authentication.yaml", AUTHENTICATION),
        ] {
            self.write(&directory.join(file), text, user)?;
        }
        Ok(())
    }

    fn appliance_directory(&self) -> Result<(), Error> {
        self.directory("appliance", accounts::APPLIANCE).map(drop)
    }

    fn loopback_server(&self, name: &'static str) -> Result<Issued, Error> {
        self.server(name, LOCAL_NAMES.iter().map(|name| (*name).to_owned()).collect()).issue(&self.pki.ca)
    }

    fn server<'a>(&self, name: &'a str, names: Vec<String>) -> Leaf<'a> {
        Leaf {
            common_name: name,
            organizations: &[],
            names,
            server: true,
            client: false,
            now: self.now,
            lifetime: identities::LIFETIME,
        }
    }

    fn directory(&self, service: &str, user: User) -> Result<std::path::PathBuf, Error> {
        let path = self.layout.service(service);
        files::directory(&path, files::PRIVATE_DIR, self.accounts.owner(user)).map_err(Error::File)?;
        Ok(path)
    }

    /// The key before the certificate: who sees the new certificate finds its key.
    fn write_pair(&self, directory: &Path, name: &str, issued: &Issued, user: User) -> Result<(), Error> {
        self.write(&directory.join(format!("{name}.key")), &issued.key, user)?;
        self.write(&directory.join(format!("{name}.crt")), &issued.certificate, user)
    }

    fn write(&self, path: &Path, text: &str, user: User) -> Result<(), Error> {
        files::replace(path, text.as_bytes(), files::PRIVATE, self.accounts.owner(user)).map_err(Error::File)
    }
}
