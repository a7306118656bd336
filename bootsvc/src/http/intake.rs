//! Octets of requests in flight: counted as they come, for each address and in all, each body within a time.
//!
//! It must never let a body wait for octets of another: what does not fit is refused.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::body::{Body, Bytes};
use parking_lot::Mutex;

use super::tapped::tapped;
use crate::connection::network_of;

/// All unfinished requests together.
const MAX_OCTETS: usize = 24 << 20;
/// Those of one address together: its connections with a message each.
const MAX_OCTETS_PER_ADDRESS: usize = 2 << 20;
/// A body that is not there after this time never will be; an inventory is one round trip.
const BODY_WITHIN: Duration = Duration::from_secs(20);

/// A body that is not read to its end.
#[derive(Debug, thiserror::Error)]
enum IntakeError {
    #[error("failed to read the request: too many octets are in flight")]
    TooMuch,
    #[error("failed to read the request: its body did not come in time")]
    TooSlow,
}

/// Counts the octets of all requests. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Intake(Arc<Mutex<Octets>>);

#[derive(Debug, Default)]
struct Octets {
    all: usize,
    of_origin: HashMap<IpAddr, usize>,
}

/// The octets of one request; they count until this value ends.
#[derive(Debug)]
pub struct Charge {
    intake: Intake,
    origin: IpAddr,
    octets: Mutex<usize>,
}

impl Intake {
    /// A charge for a request of this client, and its body counted by it.
    pub fn charge(&self, client: IpAddr, body: Body) -> (Arc<Charge>, Body) {
        self.charge_within(BODY_WITHIN, client, body)
    }

    fn charge_within(&self, within: Duration, client: IpAddr, body: Body) -> (Arc<Charge>, Body) {
        let charge =
            Arc::new(Charge { intake: self.clone(), origin: network_of(client), octets: Mutex::default() });
        let (counted, mut limit) = (charge.clone(), Box::pin(tokio::time::sleep(within)));
        let body = tapped(body, move |cx, polled| match polled {
            Poll::Ready(Some(Ok(frame))) => {
                let more = frame.data_ref().map_or(0, Bytes::len);
                Poll::Ready(Some(counted.add(more).map(|()| frame).map_err(axum::Error::new)))
            }
            Poll::Pending if limit.as_mut().poll(cx).is_ready() => {
                Poll::Ready(Some(Err(axum::Error::new(IntakeError::TooSlow))))
            }
            Poll::Ready(_) | Poll::Pending => polled,
        });
        (charge, body)
    }
}

impl Charge {
    fn add(&self, more: usize) -> Result<(), IntakeError> {
        let mut octets = self.intake.0.lock();
        let own = octets.of_origin.get(&self.origin).copied().unwrap_or_default();
        if octets.all + more > MAX_OCTETS || own + more > MAX_OCTETS_PER_ADDRESS {
            return Err(IntakeError::TooMuch);
        }
        octets.all += more;
        octets.of_origin.insert(self.origin, own + more);
        *self.octets.lock() += more;
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mine = *self.octets.lock();
        let mut octets = self.intake.0.lock();
        octets.all -= mine;
        if let Some(own) = octets.of_origin.get_mut(&self.origin) {
            *own -= mine;
            if *own == 0 {
                octets.of_origin.remove(&self.origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::Context;

    use axum::body::to_bytes;
    use hyper::body::{Body as HttpBody, Frame};

    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    #[tokio::test]
    async fn counts_until_the_request_is_answered() {
        let intake = Intake::default();
        let (charge, body) = intake.charge(CLIENT, Body::from(vec![0; 1000]));
        assert_eq!(to_bytes(body, 2000).await.unwrap().len(), 1000);
        assert_eq!(intake.0.lock().all, 1000);
        drop(charge);
        assert_eq!(intake.0.lock().all, 0);
        assert!(intake.0.lock().of_origin.is_empty());
    }

    #[tokio::test]
    async fn an_address_cannot_use_up_what_is_there_for_all() {
        let intake = Intake::default();
        let mut held = Vec::new();
        for _ in 0..MAX_OCTETS_PER_ADDRESS >> 16 {
            let (charge, body) = intake.charge(CLIENT, Body::from(vec![0; 1 << 16]));
            to_bytes(body, 1 << 16).await.unwrap();
            held.push(charge);
        }
        let (_charge, body) = intake.charge(CLIENT, Body::from("x"));
        assert!(to_bytes(body, 10).await.is_err());
        let (_charge, body) = intake.charge([10, 0, 0, 2].into(), Body::from("x"));
        assert!(to_bytes(body, 10).await.is_ok());
        drop(held);
        let (_charge, body) = intake.charge(CLIENT, Body::from("x"));
        assert!(to_bytes(body, 10).await.is_ok());
    }

    #[tokio::test]
    async fn all_addresses_together_stay_below_the_limit() {
        let intake = Intake::default();
        let mut held = Vec::new();
        let mut refused = 0;
        for number in 0..2 * (MAX_OCTETS >> 20) {
            let client = IpAddr::from([10, 1, 0, u8::try_from(number).unwrap()]);
            let (charge, body) = intake.charge(client, Body::from(vec![0; 1 << 20]));
            refused += usize::from(to_bytes(body, 1 << 20).await.is_err());
            held.push(charge);
        }
        assert_eq!((intake.0.lock().all, refused), (MAX_OCTETS, MAX_OCTETS >> 20));
    }

    #[tokio::test]
    async fn a_body_that_never_ends_ends_in_time() {
        struct Endless;
        impl HttpBody for Endless {
            type Data = Bytes;
            type Error = std::convert::Infallible;
            fn poll_frame(
                self: Pin<&mut Self>,
                _: &mut Context<'_>,
            ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
                Poll::Pending
            }
        }
        let within = Duration::from_millis(50);
        let (_charge, body) = Intake::default().charge_within(within, CLIENT, Body::new(Endless));
        let began = tokio::time::Instant::now();
        assert!(to_bytes(body, 10).await.is_err());
        assert!(began.elapsed() >= within);
    }
}
