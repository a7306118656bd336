//! Who is on the other end of a connection.

use std::net::IpAddr;

use bloomery_pairing::wire::{ADMIN_GROUP, ADMIN_USER};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The other end of a connection, put into every request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller {
    /// Its address, IPv4 as IPv4.
    pub(crate) address: IpAddr,
    /// Whether it showed a verified certificate of the admin.
    pub(crate) admin: bool,
}

impl Caller {
    /// `chain` has been verified against the client CA by the handshake; the first is the client's own.
    pub(crate) fn new(address: IpAddr, chain: Option<&[CertificateDer<'_>]>) -> Self {
        let admin = chain.and_then(<[_]>::first).is_some_and(|certificate| is_admin(certificate));
        Self { address: address.to_canonical(), admin }
    }
}

/// Both the user and the group must be the admin's: the CA signs for every component.
fn is_admin(certificate_der: &[u8]) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate_der) else {
        return false;
    };
    let subject = certificate.subject();
    let has_user = subject.iter_common_name().any(|name| name.as_str() == Ok(ADMIN_USER));
    let has_group = subject.iter_organization().any(|name| name.as_str() == Ok(ADMIN_GROUP));
    has_user && has_group
}
