//! The order to wipe that an agent is given, and shows again when it reports.
//!
//! An order says by itself which machine, which Server (uid), which epoch of the plane, which record and which boot it is
//! for. Every replica of the boot services, and one that was started anew, verifies it against the Server as it is now,
//! and needs no memory. It must never verify for a Server that was made anew, after a takeover, or for another boot.

use std::fmt;

use data_encoding::HEXLOWER;
use kube::Resource as _;
use sha2::{Digest, Sha256};

use crate::evidence::RecordId;
use crate::plane::Authority;
use crate::server::Server;
use crate::trust::{SHORTEST_TAG, SigningKey};

/// What the signature is of, so that it never fits anything else.
const PURPOSE: &[u8] = b"bloomery wipe order 1";
/// The only version of the octets that there is.
const VERSION: u8 = 1;
/// Octets before the name of the record.
const HEAD_LEN: usize = 1 + SHORTEST_TAG;
/// Longest name of a record in an order.
const MAX_RECORD: usize = 64;
/// Octets of the digest that name the record "clean".
const CLEANED_LEN: usize = 8;

/// An order that is known to be of this plane, for this Server and the caller's boot.
#[derive(Clone, PartialEq, Eq)]
pub struct Order {
    /// The record that allowed it.
    pub record: RecordId,
    /// The name of the record "clean" that ends it: whoever finds that record on the Server knows which wipe led to it.
    pub cleaned: RecordId,
}

impl fmt::Debug for Order {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Order").field("record", &self.record).finish_non_exhaustive()
    }
}

impl Order {
    /// An order that `record` allows, for the boot with this token (of upstream's agents, which have none: empty).
    pub fn new(record: RecordId, boot: &[u8]) -> Self {
        let mut digest = Sha256::new();
        for part in [b"bloomery clean record", record.0.as_bytes(), boot] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        let cleaned = RecordId(HEXLOWER.encode(&digest.finalize()[..CLEANED_LEN]));
        Self { record, cleaned }
    }

    /// The octets that the agent shows: version, signature, name of the record. None where the plane may not act.
    pub fn sign(
        key: &SigningKey,
        server: &Server,
        authority: &Authority,
        record: &RecordId,
        boot: &[u8],
    ) -> Option<Vec<u8>> {
        let tag = signed(server, authority, record.0.as_bytes(), boot, |parts| key.tag(parts))?;
        Some([&[VERSION], &tag[..SHORTEST_TAG], record.0.as_bytes()].concat())
    }

    /// Reads what an agent shows; `None` if it is no order of this plane for the Server as it is now and for this boot.
    pub fn verify(
        key: &SigningKey,
        server: &Server,
        authority: &Authority,
        shown: &[u8],
        boot: &[u8],
    ) -> Option<Self> {
        let (head, record) = shown.split_at_checked(HEAD_LEN)?;
        let (&[version], tag) = head.split_first_chunk::<1>()?;
        if version != VERSION || record.is_empty() || record.len() > MAX_RECORD {
            return None;
        }
        let good = signed(server, authority, record, boot, |parts| key.verifies_tag(parts, tag))?;
        let record = RecordId(std::str::from_utf8(record).ok()?.to_owned());
        good.then(|| Self::new(record, boot))
    }
}

/// Hands the parts that the signature is of to `with`; none where there is nothing to sign for.
fn signed<T>(
    server: &Server,
    authority: &Authority,
    record: &[u8],
    boot: &[u8],
    with: impl FnOnce(&[&[u8]]) -> T,
) -> Option<T> {
    let epoch = authority.epoch()?.to_be_bytes();
    let (name, uid) = (server.meta().name.as_deref()?, server.meta().uid.as_deref()?);
    if name.is_empty() || uid.is_empty() {
        return None;
    }
    Some(with(&[PURPOSE, name.as_bytes(), uid.as_bytes(), &epoch, record, boot]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ServerSpec;
    use crate::trust::{KEY_LEN, Trust};

    const BOOT: &[u8] = b"the boot";

    fn key(octet: u8) -> SigningKey {
        SigningKey::new([octet; KEY_LEN])
    }

    fn holds(epoch: i64) -> Authority {
        Authority::Holds { epoch, trust: Trust::new(key(7), "own") }
    }

    fn server(name: &str, uid: &str) -> Server {
        let mut server = Server::new(name, ServerSpec::default());
        server.metadata.uid = Some(uid.to_owned());
        server
    }

    fn order() -> (Server, Vec<u8>) {
        let server = server("m", "u1");
        let record = RecordId("0123456789abcdef".to_owned());
        let order = Order::sign(&key(1), &server, &holds(3), &record, BOOT).unwrap();
        (server, order)
    }

    #[test]
    fn an_order_is_good_for_its_machine_object_epoch_boot_and_key_only() {
        let (own, shown) = order();
        let read = Order::verify(&key(1), &own, &holds(3), &shown, BOOT).unwrap();
        assert_eq!(read.record.0, "0123456789abcdef");
        assert_eq!(read, Order::new(read.record.clone(), BOOT));
        for (key, server, authority, boot, what) in [
            (key(2), own.clone(), holds(3), BOOT, "another key"),
            (key(1), server("m", "u2"), holds(3), BOOT, "a Server that was made anew"),
            (key(1), server("n", "u1"), holds(3), BOOT, "another machine"),
            (key(1), own.clone(), holds(4), BOOT, "after a takeover or restore"),
            (key(1), own.clone(), Authority::Unknown, BOOT, "a plane that may not act"),
            (key(1), own.clone(), holds(3), &b"another boot"[..], "another boot"),
            (key(1), own.clone(), holds(3), &b""[..], "an agent without token"),
        ] {
            assert_eq!(Order::verify(&key, &server, &authority, &shown, boot), None, "{what}");
        }
    }

    #[test]
    fn no_order_is_signed_for_an_object_that_is_not_there() {
        let (own, record) = (server("m", ""), RecordId("r".to_owned()));
        assert_eq!(Order::sign(&key(1), &own, &holds(3), &record, BOOT), None);
        assert_eq!(Order::sign(&key(1), &server("m", "u"), &Authority::Unknown, &record, BOOT), None);
    }

    #[test]
    fn wipes_of_other_boots_and_records_end_in_other_records() {
        let cleaned = |record: &str, boot: &[u8]| Order::new(RecordId(record.to_owned()), boot).cleaned.0;
        assert_eq!(cleaned("r", BOOT).len(), 16);
        assert_eq!(cleaned("r", BOOT), cleaned("r", BOOT));
        assert_ne!(cleaned("r", BOOT), cleaned("s", BOOT));
        assert_ne!(cleaned("r", BOOT), cleaned("r", b""));
        assert_ne!(cleaned("ab", b"c"), cleaned("a", b"bc"));
    }

    proptest! {
        #[test]
        fn no_changed_octet_and_no_other_length_passes(at in 0usize..33, bit in 0u8..8, cut in 0usize..33, more in 1usize..80) {
            let (own, shown) = order();
            let verify = |shown: &[u8]| Order::verify(&key(1), &own, &holds(3), shown, BOOT);
            prop_assert_eq!(shown.len(), 33);
            let mut forged = shown.clone();
            forged[at] ^= 1 << bit;
            prop_assert_eq!(verify(&forged), None);
            prop_assert_eq!(verify(&shown[..cut]), None);
            prop_assert_eq!(verify(&[shown, vec![b'a'; more]].concat()), None);
        }

        #[test]
        fn no_octets_panic(shown in proptest::collection::vec(any::<u8>(), 0..120)) {
            prop_assert_eq!(Order::verify(&key(1), &server("m", "u"), &holds(1), &shown, BOOT), None);
        }
    }
}
