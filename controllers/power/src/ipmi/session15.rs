//! A session of IPMI 1.5: opened, used for a few commands, closed.
//!
//! Never accepts a packet of the session without its authentication code.

use zeroize::Zeroizing;

use super::commands::{
    SET_ADMINISTRATOR, activate, auth_capabilities, challenge, close, parse_auth_capabilities,
};
use super::driver::Credentials;
use super::error::{Error, ParseError};
use super::lan15::{
    AuthType, packet, parse_activated, parse_challenge, parse_session_packet, password_block,
};
use super::link::{Constant, Link, Question};
use super::message::{Request, parse_response};
use super::rakp::ADMINISTRATOR;
use super::rmcp;
use super::rmcp_plus::Window;
use super::sessionless;

/// Longest user name and password.
const MAX_NAME: usize = 16;

/// An open session.
#[derive(Debug)]
pub(super) struct Session15 {
    link: Link,
    state: State,
}

/// What the packets of a session need.
#[derive(Debug)]
struct State {
    auth: AuthType,
    password: Zeroizing<[u8; MAX_NAME]>,
    session: u32,
    /// Of the next packet.
    sequence: u32,
    number: u8,
    window: Window,
}

impl State {
    fn packet(&mut self, message: &[u8]) -> Vec<u8> {
        let bytes = packet(self.auth, &self.password, self.session, self.sequence, message);
        // 0 is for packets outside a session.
        self.sequence = self.sequence.checked_add(1).unwrap_or(1);
        bytes
    }

    /// The response to `request`: completion code and data.
    fn answer(&mut self, request: &Request<'_>, bytes: &[u8]) -> Result<Option<(u8, Vec<u8>)>, ParseError> {
        let packet = parse_session_packet(rmcp::parse_ipmi(bytes)?)?;
        if packet.auth != self.auth || !packet.is_authentic(&self.password) {
            return Err(ParseError::Integrity);
        }
        if packet.session != self.session || !self.window.accept(packet.sequence) {
            return Ok(None);
        }
        let response = parse_response(packet.payload)?;
        Ok(request.is_answered_by(&response, self.number).then(|| (response.code, response.data.to_vec())))
    }
}

/// A command of an open session.
struct InSession<'a> {
    state: &'a mut State,
    request: Request<'a>,
    message: Vec<u8>,
}

impl Question for InSession<'_> {
    type Answer = (u8, Vec<u8>);

    fn packet(&mut self) -> Vec<u8> {
        // With a new sequence number each time: a BMC ignores one that it has seen.
        self.state.packet(&self.message)
    }

    fn accept(&mut self, bytes: &[u8]) -> Result<Option<Self::Answer>, ParseError> {
        self.state.answer(&self.request, bytes)
    }
}

impl Session15 {
    /// Logs in as administrator.
    pub(super) async fn open(link: Link, credentials: &Credentials) -> Result<Self, Error> {
        let (user, pass) = credentials.within(MAX_NAME, MAX_NAME)?;
        let step = "Get Channel Authentication Capabilities";
        let data = sessionless::ask(&link, 0, auth_capabilities(false)).await?;
        let offered = parse_auth_capabilities(&data).map_err(|source| Error::Answer { step, source })?;
        let auth = offered.best_auth_type().ok_or(Error::NoAuthType)?;
        let password = password_block(pass);

        let mut data = vec![auth.byte()];
        data.extend(*password_block(user));
        let asked = challenge(&data);
        let answer = sessionless::ask(&link, 0, asked).await.map_err(as_login)?;
        let (session, challenge) =
            parse_challenge(&answer).map_err(|source| Error::Answer { step: asked.step, source })?;
        let state = State { auth, password, session, sequence: 0, number: 0, window: Window::default() };
        let mut session = activated(link, state, challenge).await?;
        session.command(SET_ADMINISTRATOR).await?;
        Ok(session)
    }

    /// Sends a command and gives its data.
    pub(super) async fn command(&mut self, request: Request<'_>) -> Result<Vec<u8>, Error> {
        self.state.number = (self.state.number + 1) & 0x3f;
        let message = request.encode(self.state.number);
        let question = InSession { state: &mut self.state, request, message };
        let (code, data) = self.link.exchange(request.step, question).await?;
        if code == 0 { Ok(data) } else { Err(Error::Refused { step: request.step, code }) }
    }
}

impl Drop for Session15 {
    /// Closes the session: a BMC has few, and keeps one that is not closed for a minute.
    fn drop(&mut self) {
        let id = self.state.session.to_le_bytes();
        let message = close(&id).encode((self.state.number + 1) & 0x3f);
        let packet = self.state.packet(&message);
        self.link.send_and_forget(&packet);
    }
}

/// Answers the challenge.
async fn activated(link: Link, mut state: State, challenge: [u8; 16]) -> Result<Session15, Error> {
    let mut data = vec![state.auth.byte(), ADMINISTRATOR];
    data.extend(challenge);
    // The BMC's first sequence number.
    data.extend((rand::random::<u32>() >> 1 | 1).to_le_bytes());
    let request = activate(&data);
    let message = request.encode(0);
    let (code, answer) = link
        .exchange(
            request.step,
            Constant::new(packet(state.auth, &state.password, state.session, 0, &message), |bytes| {
                let packet = parse_session_packet(rmcp::parse_ipmi(bytes)?)?;
                if !packet.is_authentic(&state.password) {
                    return Err(ParseError::Integrity);
                }
                let response = parse_response(packet.payload)?;
                Ok(request.is_answered_by(&response, 0).then(|| (response.code, response.data.to_vec())))
            }),
        )
        .await
        .map_err(|error| match error {
            // It answered the question before this one.
            Error::Silent { step, .. } => Error::Ignored { step },
            other => as_login(other),
        })?;
    if code != 0 {
        // This command's own codes for "no free session" (22.17); elsewhere they mean the user name.
        let status = if matches!(code, 0x81..=0x83) { 0x01 } else { code };
        return Err(Error::Login { step: request.step, status });
    }
    let (auth, session, sequence) =
        parse_activated(&answer).map_err(|source| Error::Answer { step: request.step, source })?;
    // "None" after a log-in with a password is the BMC's right: per-message authentication is switched off.
    (state.auth, state.session, state.sequence) = (auth, session, sequence.max(1));
    Ok(Session15 { link, state })
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
