//! The admin identity: the file that it comes in, and who on the other end of a connection has it.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use bloomery_pairing::wire::{ADMIN_GROUP, ADMIN_USER, AdminIdentity};
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

/// Reads the identity that PID 1 wrote for us.
///
/// # Errors
/// When the file cannot be read or is not whole.
pub(crate) fn read(path: &Path) -> io::Result<AdminIdentity> {
    let text = fs::read(path)?;
    // The cause of a parse error could quote the key: only its position is kept.
    serde_json::from_slice(&text).map_err(|error| {
        io::Error::new(io::ErrorKind::InvalidData, format!("line {} column {}", error.line(), error.column()))
    })
}
