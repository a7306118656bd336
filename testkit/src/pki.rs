//! Certificates for a test's control plane: one CA, and what it signs.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// A CA that lives as long as the test.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: PathBuf,
}

/// A certificate and its key, as PEM texts and files.
pub struct Identity {
    /// Certificate file.
    pub certificate_file: PathBuf,
    /// Key file.
    pub key_file: PathBuf,
}

impl Authority {
    /// Makes a CA whose files live in `directory`.
    pub fn new(directory: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test CA");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(directory.join("ca.crt"), issuer.pem()).unwrap();
        Self { issuer, directory: directory.to_owned() }
    }

    /// The CA's certificate file.
    pub fn file(&self) -> PathBuf {
        self.directory.join("ca.crt")
    }

    /// The CA's certificate and key, PEM.
    pub fn pair(&self) -> (String, String) {
        (self.issuer.pem(), self.issuer.key().serialize_pem())
    }

    /// A certificate for a user (common name) of groups (organisations), good for 127.0.0.1 as well.
    pub fn issue(&self, user: &str, groups: &[&str]) -> Identity {
        let params = of_user(user, groups, vec!["127.0.0.1".to_owned(), "localhost".to_owned()]);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |ending: &str| self.directory.join(format!("{}.{ending}", user.replace(':', "-")));
        let identity = Identity { certificate_file: file("crt"), key_file: file("key") };
        std::fs::write(&identity.certificate_file, certificate.pem()).unwrap();
        std::fs::write(&identity.key_file, key.serialize_pem()).unwrap();
        identity
    }

    /// A certificate and its key, PEM, of a user of groups, good for so long from now on.
    pub fn issue_for(&self, user: &str, groups: &[&str], lifetime: Duration) -> (String, String) {
        let mut params = of_user(user, groups, Vec::new());
        params.not_after = (SystemTime::now() + lifetime).into();
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Writes a kubeconfig for a user and returns its path.
    pub fn kubeconfig(&self, user: &str, groups: &[&str], server: &str) -> PathBuf {
        let identity = self.issue(user, groups);
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
             clusters:\n- name: test\n  cluster: {{server: '{server}', certificate-authority: '{}'}}\n\
             users:\n- name: test\n  user: {{client-certificate: '{}', client-key: '{}'}}\n\
             contexts:\n- name: test\n  context: {{cluster: test, user: test}}\n",
            self.file().display(),
            identity.certificate_file.display(),
            identity.key_file.display(),
        );
        let path = self.directory.join(format!("{}.kubeconfig", user.replace(':', "-")));
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Writes a key pair for service accounts: the private file and the public one.
    pub fn service_account_keys(&self) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let files = (self.directory.join("sa.key"), self.directory.join("sa.pub"));
        std::fs::write(&files.0, key.serialize_pem()).unwrap();
        std::fs::write(&files.1, key.public_key_pem()).unwrap();
        files
    }
}

/// What Kubernetes takes for a user (common name) of groups (organisations).
fn of_user(user: &str, groups: &[&str], names: Vec<String>) -> CertificateParams {
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, user);
    for group in groups {
        params.distinguished_name.push(DnType::OrganizationName, *group);
    }
    params
}
