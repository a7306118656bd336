//! The authority of the nodes, of Talos's kind: Ed25519.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, PKCS_ED25519,
};

pub(super) struct Pki {
    issuer: Issuer<'static, KeyPair>,
    authority: String,
}

impl Pki {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::OrganizationName, "talos");
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let authority = params.self_signed(&key).unwrap().pem();
        Self::of(&authority, &key.serialize_pem())
    }

    /// Of an authority that there is, with its key labelled as Talos labels it or as usual.
    pub(super) fn of(authority: &str, key: &str) -> Self {
        let key = KeyPair::from_pem(&key.replace("ED25519 PRIVATE KEY", "PRIVATE KEY")).unwrap();
        Self { issuer: Issuer::from_ca_cert_pem(authority, key).unwrap(), authority: authority.to_owned() }
    }

    pub(super) fn authority(&self) -> String {
        self.authority.clone()
    }

    /// Certificate and key of a node at 127.0.0.1.
    pub(super) fn server(&self) -> (String, String) {
        self.issue(&["127.0.0.1"], None, ExtendedKeyUsagePurpose::ServerAuth)
    }

    pub(super) fn talosconfig(&self, cluster: &str) -> String {
        let (certificate, key) = self.issue(&[], Some("os:admin"), ExtendedKeyUsagePurpose::ClientAuth);
        let key = key.replace("PRIVATE KEY", "ED25519 PRIVATE KEY");
        let [ca, crt, key] = [self.authority(), certificate, key].map(|pem| STANDARD.encode(pem));
        format!(
            "context: {cluster}\ncontexts:\n  {cluster}:\n    endpoints: []\n    ca: {ca}\n    crt: {crt}\n    key: {key}\n"
        )
    }

    fn issue(
        &self,
        names: &[&str],
        organization: Option<&str>,
        usage: ExtendedKeyUsagePurpose,
    ) -> (String, String) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![usage];
        if let Some(organization) = organization {
            params.distinguished_name.push(DnType::OrganizationName, organization);
        }
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}
