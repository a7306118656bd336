//! An open session of either version: commands in it, and its end.
//!
//! Never logs in, and knows no packet: both are the version's.

use secrecy::{ExposeSecret, SecretString};

use super::commands::close;
use super::error::{Error, ParseError};
use super::link::{Link, Question};
use super::message::{Request, next_number};
use crate::identity::Guid;

/// User name and password.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// User name.
    pub user: SecretString,
    /// Password.
    pub pass: SecretString,
}

impl Credentials {
    /// Both as bytes, if they are not longer than this.
    pub(super) fn within(&self, user_max: usize, pass_max: usize) -> Result<(&[u8], &[u8]), Error> {
        let (user, pass) = (self.user.expose_secret().as_bytes(), self.pass.expose_secret().as_bytes());
        if user.len() > user_max {
            return Err(Error::TooLong { what: "user name", max: user_max });
        }
        if pass.len() > pass_max {
            return Err(Error::TooLong { what: "password", max: pass_max });
        }
        Ok((user, pass))
    }
}

/// How a version of IPMI wraps the messages of a session.
pub(super) trait Wire: std::fmt::Debug + Send + Sync {
    /// The BMC's session id.
    fn id(&self) -> u32;
    /// The GUID that the BMC told in the log-in, if the version has one there.
    fn guid(&self) -> Option<Guid>;
    /// A packet with this message.
    fn seal(&self, sequence: u32, message: &[u8]) -> Vec<u8>;
    /// Sequence number and message of a packet; `None` if it belongs to another session.
    fn open(&self, packet: &[u8]) -> Result<Option<(u32, Vec<u8>)>, ParseError>;
}

/// An open session, closed when dropped.
#[derive(Debug)]
pub(super) struct Session {
    link: Link,
    wire: Box<dyn Wire>,
    /// Of the next packet.
    sequence: u32,
    number: u8,
    window: Window,
}

struct InSession<'a> {
    wire: &'a dyn Wire,
    sequence: &'a mut u32,
    window: &'a mut Window,
    request: Request<'a>,
    number: u8,
}

impl Question for InSession<'_> {
    type Answer = (u8, Vec<u8>);

    fn packet(&mut self) -> Vec<u8> {
        // With a new sequence number each time: a BMC ignores one that it has seen.
        let packet = self.wire.seal(*self.sequence, &self.request.encode(self.number));
        // 0 is for packets outside a session.
        *self.sequence = self.sequence.checked_add(1).unwrap_or(1);
        packet
    }

    fn accept(&mut self, bytes: &[u8]) -> Result<Option<Self::Answer>, ParseError> {
        match self.wire.open(bytes)? {
            Some((sequence, message)) if self.window.accept(sequence) => {
                self.request.answer(self.number, &message)
            }
            _ => Ok(None),
        }
    }
}

impl Session {
    /// A session that was logged in to; `sequence` is that of its first packet.
    pub(super) fn new(link: Link, wire: impl Wire + 'static, sequence: u32) -> Self {
        Self { link, wire: Box::new(wire), sequence, number: 0, window: Window::default() }
    }

    /// The GUID that the BMC told in the log-in.
    pub(super) fn guid(&self) -> Option<Guid> {
        self.wire.guid()
    }

    /// Sends a command and gives its data.
    pub(super) async fn command(&mut self, request: Request<'_>) -> Result<Vec<u8>, Error> {
        self.number = next_number(self.number);
        let question = InSession {
            wire: &*self.wire,
            sequence: &mut self.sequence,
            window: &mut self.window,
            request,
            number: self.number,
        };
        let (code, data) = self.link.exchange(request.step, question).await?;
        if code == 0 { Ok(data) } else { Err(Error::Refused { step: request.step, code }) }
    }
}

impl Drop for Session {
    /// Closes the session: a BMC has few, and keeps one that is not closed for a minute.
    fn drop(&mut self) {
        let id = self.wire.id().to_le_bytes();
        let message = close(&id).encode(next_number(self.number));
        self.link.send_and_forget(&self.wire.seal(self.sequence, &message));
    }
}

/// Which sequence numbers came already: each is accepted once, and late by at most 31 (IPMI 2.0, 6.12.13).
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    highest: u32,
    /// Bit n: `highest - n` was seen.
    seen: u32,
}

impl Window {
    /// Whether this number is new; remembers it.
    fn accept(&mut self, sequence: u32) -> bool {
        if sequence == 0 {
            return false;
        }
        if sequence > self.highest {
            self.seen = self.seen.checked_shl(sequence - self.highest).unwrap_or(0) | 1;
            self.highest = sequence;
            return true;
        }
        let Some(bit) = 1_u32.checked_shl(self.highest - sequence) else { return false };
        let new = self.seen & bit == 0;
        self.seen |= bit;
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_each_sequence_number_once_and_late_ones_within_the_window() {
        let mut window = Window::default();
        for (sequence, expected) in [
            (0, false),
            (1, true),
            (1, false),
            (5, true),
            (3, true),
            (3, false),
            (4, true),
            (40, true),
            (9, true),
            (8, false),
            (40, false),
            (u32::MAX, true),
            (40, false),
            (u32::MAX - 31, true),
            (u32::MAX - 31, false),
        ] {
            assert_eq!(window.accept(sequence), expected, "{sequence}");
        }
    }
}
