//! Certificates that live in memory only and are made at every boot.

use super::authority::Authority;
use super::{Error, new_key};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType,
};
use std::net::IpAddr;
use time::{Duration, OffsetDateTime};

/// Clocks of clients may be behind ours.
const CLOCK_SKEW: Duration = Duration::days(1);

/// What a certificate is to say.
#[derive(Debug, Clone)]
pub struct Leaf<'a> {
    /// CN: Kubernetes' user name.
    pub common_name: &'a str,
    /// O: Kubernetes' groups.
    pub organizations: &'a [&'a str],
    /// Names and addresses of a server; addresses are told apart from names by their form.
    pub names: Vec<String>,
    /// May be shown by a server.
    pub server: bool,
    /// May be shown by a client.
    pub client: bool,
    /// When it starts to hold (less a day, for clients whose clocks are behind).
    pub now: OffsetDateTime,
    pub lifetime: Duration,
}

/// A certificate and its key, PEM.
#[derive(Debug, Clone)]
pub struct Issued {
    pub certificate: String,
    pub key: String,
}

impl Leaf<'_> {
    /// Signs it, with a new key.
    pub fn issue(&self, authority: &Authority) -> Result<Issued, Error> {
        self.issue_for(authority, &new_key()?)
    }

    /// Signs it for a key that is there already.
    pub fn issue_for(&self, authority: &Authority, key: &KeyPair) -> Result<Issued, Error> {
        let make = |source| Error::Make { what: "a certificate", source };
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for organization in self.organizations {
            params.distinguished_name.push(DnType::OrganizationName, *organization);
        }
        params.distinguished_name.push(DnType::CommonName, self.common_name);
        for name in &self.names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.as_str().try_into().map_err(make)?),
            });
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if self.server {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        if self.client {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        params.use_authority_key_identifier_extension = true;
        params.not_before = self.now - CLOCK_SKEW;
        params.not_after = self.now + self.lifetime;
        let signed = params.signed_by(key, authority.issuer()).map_err(make)?;
        Ok(Issued { certificate: signed.pem(), key: key.serialize_pem() })
    }
}
