//! The token that ties an agent, or the node system, to the boot it was given: its form, and whether we made it.
//!
//! A version octet, 8 octets nonce, 8 octets Unix milliseconds, the first 16 octets of an HMAC-SHA256 over
//! the purpose, what the token is for, and the octets before, each with its length before it; all in base64url without
//! padding. Pure: it asks no clock and no cluster. It must never show a token in a log.

use std::fmt;

use bloomery_api::trust::{SHORTEST_TAG, SigningKey, TAG_LEN};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use subtle::ConstantTimeEq;

/// Octets of the nonce.
pub const NONCE_LEN: usize = 8;
/// What the HMAC is for, so that it never fits anything else: the boot of an agent.
const AGENT: &[u8] = b"bloomery agent boot 2";
/// The configuration of a machine.
const CONFIGURATION: &[u8] = b"bloomery machine configuration 1";
/// The only version there is.
const VERSION: u8 = 2;
const LEN: usize = 1 + NONCE_LEN + 8 + SHORTEST_TAG;
/// Where the time begins.
const TIME_AT: usize = 1 + NONCE_LEN;
/// Where the HMAC begins.
const TAG_AT: usize = TIME_AT + 8;
/// How far from now a token's time may be when nobody remembers having given it, either way: a clock that
/// was put right must not make an old token last for ever.
const TRUSTED_FOR_MS: u64 = 24 * 60 * 60 * 1000;

/// The node that a token is for: a binding made anew and a plane that was restored have others.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    /// Name of the Server.
    pub server: &'a str,
    /// `metadata.uid` of its binding.
    pub binding: &'a str,
    /// Epoch of the plane.
    pub epoch: i64,
}

impl Node<'_> {
    fn with<T>(&self, rest: &[u8], work: impl FnOnce(&[&[u8]]) -> T) -> T {
        let Self { server, binding, epoch } = self;
        work(&[CONFIGURATION, server.as_bytes(), binding.as_bytes(), &epoch.to_be_bytes(), rest])
    }
}

#[derive(Clone, Copy)]
pub struct Token([u8; LEN]);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Token {}

impl Token {
    /// A token for one boot of the agent on the machine `uuid` (lower case).
    pub fn sign(key: &SigningKey, uuid: &str, nonce: [u8; NONCE_LEN], time_ms: u64) -> Self {
        Self::make(nonce, time_ms, |rest| key.tag(&[AGENT, uuid.as_bytes(), rest]))
    }

    /// A token for one boot of the node system, by which it gets its configuration.
    pub fn sign_node(key: &SigningKey, node: &Node<'_>, nonce: [u8; NONCE_LEN], time_ms: u64) -> Self {
        Self::make(nonce, time_ms, |rest| node.with(rest, |parts| key.tag(parts)))
    }

    fn make(nonce: [u8; NONCE_LEN], time_ms: u64, tag: impl FnOnce(&[u8]) -> [u8; TAG_LEN]) -> Self {
        let mut octets = [0; LEN];
        octets[0] = VERSION;
        octets[1..TIME_AT].copy_from_slice(&nonce);
        octets[TIME_AT..TAG_AT].copy_from_slice(&time_ms.to_be_bytes());
        let tag = tag(&octets[1..TAG_AT]);
        octets[TAG_AT..].copy_from_slice(&tag[..SHORTEST_TAG]);
        Self(octets)
    }

    /// Whether `key` signed it for `uuid`.
    pub fn is_signed(&self, key: &SigningKey, uuid: &str) -> bool {
        key.verifies_tag(&[AGENT, uuid.as_bytes(), &self.0[1..TAG_AT]], &self.0[TAG_AT..])
    }

    /// Whether `key` signed it for this node.
    pub fn is_signed_for(&self, key: &SigningKey, node: &Node<'_>) -> bool {
        node.with(&self.0[1..TAG_AT], |parts| key.verifies_tag(parts, &self.0[TAG_AT..]))
    }

    /// What names its boot on record. The token cannot be made from it.
    pub fn id(&self) -> String {
        HEXLOWER.encode(&self.0[1..TAG_AT])
    }

    /// Its octets, which name the boot in what is signed for it.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }

    /// Reads the text form; `None` if it is none. Each token has exactly one text.
    pub fn parse(text: &str) -> Option<Self> {
        let octets: [u8; LEN] = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?.try_into().ok()?;
        (octets[0] == VERSION).then_some(Self(octets))
    }

    pub fn text(&self) -> String {
        BASE64URL_NOPAD.encode(&self.0)
    }

    /// When it was made, in Unix milliseconds of this plane's clock.
    pub fn time_ms(&self) -> u64 {
        let mut octets = [0; 8];
        octets.copy_from_slice(&self.0[TIME_AT..TAG_AT]);
        u64::from_be_bytes(octets)
    }

    /// Whether its time is near enough to now to be believed without a memory of having given it.
    pub fn is_recent(&self, now_ms: u64) -> bool {
        self.time_ms().abs_diff(now_ms) <= TRUSTED_FOR_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UUID: &str = "4c4c4544-0042-3110-8051-b7c04f4e3332";
    const DAY_MS: u64 = 86_400_000;

    fn key(octet: u8) -> SigningKey {
        SigningKey::new([octet; 32])
    }

    #[test]
    fn the_form_is_fixed() {
        let token = Token::sign(&key(7), UUID, [1, 2, 3, 4, 5, 6, 7, 8], 0x0102_0304_0506_0708);
        insta::assert_snapshot!(token.text());
        let octets = BASE64URL_NOPAD.decode(token.text().as_bytes()).unwrap();
        assert_eq!(octets.len(), 33);
        assert_eq!(octets[..17], [2, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(
            octets[17..],
            key(7).tag(&[b"bloomery agent boot 2", UUID.as_bytes(), &octets[1..17]])[..16]
        );
    }

    #[test]
    fn a_token_is_not_shown() {
        assert_eq!(format!("{:?}", Token::sign(&key(1), UUID, [9; 8], 5)), "Token(…)");
    }

    #[test]
    fn a_day_to_either_side_is_recent() {
        let now = 100 * DAY_MS;
        for (time, recent) in [
            (now, true),
            (now - DAY_MS, true),
            (now - DAY_MS - 1, false),
            (now + DAY_MS, true),
            (now + DAY_MS + 1, false),
            (0, false),
            (u64::MAX, false),
        ] {
            assert_eq!(Token::sign(&key(1), UUID, [0; 8], time).is_recent(now), recent, "{time}");
        }
    }

    #[test]
    fn a_token_of_a_node_is_good_for_its_server_binding_and_epoch_only() {
        let own = Node { server: UUID, binding: "b", epoch: 3 };
        let token = Token::sign_node(&key(1), &own, [1; 8], 5);
        assert!(token.is_signed_for(&key(1), &own) && !token.is_signed_for(&key(2), &own));
        for other in [
            Node { server: "other", ..own },
            Node { binding: "c", ..own },
            Node { epoch: 4, ..own },
            Node { server: "", binding: UUID, ..own },
        ] {
            assert!(!token.is_signed_for(&key(1), &other), "{other:?}");
        }
        // Neither is taken for the other.
        assert!(!token.is_signed(&key(1), UUID));
        assert!(!Token::sign(&key(1), UUID, [1; 8], 5).is_signed_for(&key(1), &own));
        assert_eq!(token.id(), "01010101010101010000000000000005");
        assert_eq!(Token::parse(&token.text()).unwrap().id(), token.id());
    }

    proptest! {
        #[test]
        fn a_token_is_good_for_its_machine_and_key_only(nonce: [u8; 8], time: u64, other in "[0-9a-f-]{0,40}") {
            let token = Token::sign(&key(1), UUID, nonce, time);
            let read = Token::parse(&token.text()).unwrap();
            prop_assert_eq!(read.time_ms(), time);
            prop_assert!(read.is_signed(&key(1), UUID));
            prop_assert!(!read.is_signed(&key(2), UUID));
            prop_assert!(other == UUID || !read.is_signed(&key(1), &other));
        }

        #[test]
        fn no_changed_octet_and_no_shorter_or_longer_text_passes(
            nonce: [u8; 8], time: u64, at in 0usize..33, bit in 0u8..8, cut in 0usize..44, more in "[A-Za-z0-9_=-]{1,8}",
        ) {
            let token = Token::sign(&key(1), UUID, nonce, time);
            let mut octets = BASE64URL_NOPAD.decode(token.text().as_bytes()).unwrap();
            octets[at] ^= 1 << bit;
            let forged = Token::parse(&BASE64URL_NOPAD.encode(&octets));
            prop_assert!(forged.is_none_or(|forged| !forged.is_signed(&key(1), UUID)));
            let text = token.text();
            prop_assert!(Token::parse(&text[..cut]).is_none());
            let longer = [text, more].concat();
            prop_assert!(Token::parse(&longer).is_none());
        }

        #[test]
        fn no_text_panics(text in ".{0,64}") {
            if let Some(token) = Token::parse(&text) {
                prop_assert_eq!(token.text(), text);
                prop_assert!(!token.is_signed(&key(1), UUID));
            }
        }
    }
}
