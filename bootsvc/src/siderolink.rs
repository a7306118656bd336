//! The plane's address in its own network, which nodes send their log and their events to.
//!
//! The network follows from a Secret that is none of the boot services' business: the controllers say the address on the
//! Plane object.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use bloomery_api::plane::{NAME, Plane, SIDERO_LINK_ANNOTATION};
use parking_lot::Mutex;

use crate::kubernetes::{self, Kubernetes};

/// How long the address is used before it is looked at again: a pivot brings another.
const MEMO: Duration = Duration::from_mins(1);

/// The address. Without it nodes report once they have their configuration.
#[derive(Default)]
pub struct SideroLink(Mutex<Option<(Instant, IpAddr)>>);

impl SideroLink {
    pub async fn address(&self, kubernetes: &Kubernetes) -> Option<IpAddr> {
        let known = *self.0.lock();
        if let Some((_, address)) = known.filter(|(read, _)| read.elapsed() < MEMO) {
            return Some(address);
        }
        let plane = kubernetes::get::<Plane>(&kubernetes.client()?, NAME).await.found();
        let told = plane.and_then(|plane| {
            plane.metadata.annotations?.get(SIDERO_LINK_ANNOTATION)?.parse::<IpAddr>().ok()
        });
        let Some(address) = told else { return known.map(|(_, address)| address) };
        *self.0.lock() = Some((Instant::now(), address));
        Some(address)
    }
}
