//! The log-in to a session of IPMI 1.5, and its packets.
//!
//! Never accepts a packet of the session without its authentication code.

use zeroize::Zeroizing;

use super::commands::{SET_ADMINISTRATOR, activate, auth_capabilities, challenge, parse_auth_capabilities};
use super::error::{Error, ParseError};
use super::lan15::{
    AuthType, packet, parse_activated, parse_challenge, parse_session_packet, password_block,
};
use super::link::{Constant, Link};
use super::rakp::ADMINISTRATOR;
use super::rmcp;
use super::session::{Credentials, Session, Wire};
use super::sessionless;
use crate::identity::Guid;

/// Longest user name and password.
const MAX_NAME: usize = 16;

/// How packets of the session are authenticated.
#[derive(Debug)]
struct Lan15 {
    auth: AuthType,
    password: Zeroizing<[u8; MAX_NAME]>,
    session: u32,
}

impl Wire for Lan15 {
    fn id(&self) -> u32 {
        self.session
    }

    fn guid(&self) -> Option<Guid> {
        None
    }

    fn seal(&self, sequence: u32, message: &[u8]) -> Vec<u8> {
        packet(self.auth, &self.password, self.session, sequence, message)
    }

    fn open(&self, packet: &[u8]) -> Result<Option<(u32, Vec<u8>)>, ParseError> {
        let packet = parse_session_packet(rmcp::parse_ipmi(packet)?)?;
        if packet.auth != self.auth || !packet.is_authentic(&self.password) {
            return Err(ParseError::Integrity);
        }
        Ok((packet.session == self.session).then(|| (packet.sequence, packet.payload.to_vec())))
    }
}

/// Logs in as administrator.
pub(super) async fn open(link: Link, credentials: &Credentials) -> Result<Session, Error> {
    let (user, pass) = credentials.within(MAX_NAME, MAX_NAME)?;
    let step = "Get Channel Authentication Capabilities";
    let data = sessionless::ask(&link, 0, auth_capabilities(false)).await?;
    let offered = parse_auth_capabilities(&data).map_err(|source| Error::Answer { step, source })?;
    let auth = offered.best_auth_type().ok_or(Error::NoAuthType)?;

    let mut data = vec![auth.byte()];
    data.extend(*password_block(user));
    let asked = challenge(&data);
    let answer = sessionless::ask(&link, 0, asked).await.map_err(as_login)?;
    let (session, challenge) =
        parse_challenge(&answer).map_err(|source| Error::Answer { step: asked.step, source })?;
    let asking = Lan15 { auth, password: password_block(pass), session };
    let (wire, sequence) = activated(&link, asking, challenge).await?;
    let mut session = Session::new(link, wire, sequence);
    session.command(SET_ADMINISTRATOR).await?;
    Ok(session)
}

/// Answers the challenge; gives the session and the sequence number of its first packet.
async fn activated(link: &Link, asking: Lan15, challenge: [u8; 16]) -> Result<(Lan15, u32), Error> {
    let mut data = vec![asking.auth.byte(), ADMINISTRATOR];
    data.extend(challenge);
    // The BMC's first sequence number.
    data.extend((rand::random::<u32>() >> 1 | 1).to_le_bytes());
    let request = activate(&data);
    let question = Constant::new(asking.seal(0, &request.encode(0)), |bytes| {
        let packet = parse_session_packet(rmcp::parse_ipmi(bytes)?)?;
        if !packet.is_authentic(&asking.password) {
            return Err(ParseError::Integrity);
        }
        request.answer(0, packet.payload)
    });
    let (code, answer) = link.exchange(request.step, question).await.map_err(|error| match error {
        // It answered the question before this one.
        Error::Silent { step, .. } => Error::Ignored { step },
        other => as_login(other),
    })?;
    if code != 0 {
        // This command's own codes for "no free session" (22.17); elsewhere they mean the user name.
        let status = if matches!(code, 0x81..=0x83) { 0x01 } else { code };
        return Err(Error::Login { step: request.step, status });
    }
    // "None" after a log-in with a password is the BMC's right: per-message authentication is switched off.
    let (auth, session, sequence) =
        parse_activated(&answer).map_err(|source| Error::Answer { step: request.step, source })?;
    Ok((Lan15 { auth, session, ..asking }, sequence.max(1)))
}

/// A refusal during the log-in, and a code that does not fit.
fn as_login(error: Error) -> Error {
    match error {
        Error::Refused { step, code } => Error::Login { step, status: code },
        // The BMC answers with a code made with its own password.
        Error::Nonsense { source: ParseError::Integrity, .. } => Error::Password,
        other => other,
    }
}
