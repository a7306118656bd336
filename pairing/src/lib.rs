//! The pairing code of a Bloomery appliance, and everything both of its ends must agree on.
//!
//! A pairing code is what a person reads off the appliance's console and types at a workstation to become
//! its administrator. It authenticates both sides: the secret in it proves the person to the appliance, the
//! fingerprint in it proves the appliance to the person's computer.
//!
//! | symbols | bits | what |
//! | --- | --- | --- |
//! | 1–12 | 60 | secret |
//! | 13–28 | 80 | leading bits of SHA-256 over the certificate's `SubjectPublicKeyInfo` (RFC 5280 §4.1) |
//! | 29–30 | 10 | checksum, so that typing errors are found before anything is sent |
//!
//! This crate must never log or print a secret other than through [`Code`]'s `Display` and
//! [`Secret::expose`], which exist for exactly that.

#[cfg(feature = "authority")]
pub mod authority;
mod base32;
mod checksum;
#[cfg(feature = "client")]
pub mod client;
mod code;
mod fingerprint;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "local")]
pub mod local;
mod person;
mod secret;
mod secret_file;
pub mod wire;

pub use code::{Code, CodeError};
#[cfg(feature = "x509")]
pub use fingerprint::CertificateError;
pub use fingerprint::Fingerprint;
pub use person::{PairingId, PairingIdError, Person, PersonError};
pub use secret::{RandomError, Secret, SecretError};
pub use secret_file::{SecretFileError, load, load_or_create, store};
