//! What a person can check when a call to the plane fails.
//!
//! It must never claim to know the cause; it says where to look.

use std::error::Error as _;

use tonic::Code;

use super::Error;

impl Error {
    /// What to check, in one sentence.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::NoIdentity => {
                "give the machine a UUID in its firmware set-up (virtual machines: an explicit UUID), then restart it"
            }
            Self::Endpoint { .. } => {
                "check the plane's advertised endpoint: it comes to this machine as sidero.endpoint=HOST:PORT"
            }
            Self::Connect { source, .. } => match io_kind(source) {
                Some(std::io::ErrorKind::ConnectionRefused) => {
                    "the host is there, but nothing listens on that port: is the plane still starting?"
                }
                _ => {
                    "check that the plane is running and that this network reaches it (address, VLAN, gateway, DNS)"
                }
            },
            Self::Call { source, .. } => match source.code() {
                Code::Unimplemented => "something else listens there: check the plane's advertised endpoint",
                Code::Unavailable => "the connection broke, or the plane does not act now: is it restarting?",
                Code::Unauthenticated | Code::PermissionDenied => {
                    "the plane does not know this boot: restart the machine, so that it netboots anew"
                }
                _ => "the plane's boot service has logged why: see `bloomery logs bootsvc`",
            },
            Self::Silent { .. } => {
                "the plane is overloaded or its Kubernetes API is down: see `bloomery status`"
            }
        }
    }
}

fn io_kind(error: &tonic::transport::Error) -> Option<std::io::ErrorKind> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return Some(error.kind());
        }
        cause = error.source();
    }
    None
}
