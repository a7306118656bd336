//! Power control by IPMI: one session for each command.
//!
//! Never keeps a session open: BMCs have few, and people need them too.

use futures::FutureExt;
use futures::future::BoxFuture;

use super::commands::{STATUS, SYSTEM_GUID, parse_chassis_status, parse_system_guid, steps};
use super::error::Error;
use super::link::{Link, Timing};
use super::session::{Credentials, Session};
use super::{session15, session20};
use crate::bmc::{Action, Bmc, Kind, Power};
use crate::endpoint::authority;
use crate::error::PowerError;
use crate::identity::{Guid, Identity};
use crate::precondition::{Precondition, ask};
use crate::select::Lan;

/// A BMC reached by IPMI over LAN.
#[derive(Debug, Clone)]
pub struct Ipmi {
    host: String,
    port: u16,
    peer: String,
    lan: Lan,
    credentials: Credentials,
    timing: Timing,
    identity: Option<Identity>,
}

impl Ipmi {
    /// Power control of the BMC at `host`, whoever's it is; connects to nothing yet.
    pub fn new(host: &str, port: u16, lan: Lan, credentials: Credentials, timing: Timing) -> Self {
        let peer = authority(host, port);
        Self { host: host.to_owned(), port, peer, lan, credentials, timing, identity: None }
    }

    /// The same, but only if the BMC is that of `identity`'s machine.
    #[must_use]
    pub fn of(self, identity: Identity) -> Self {
        Self { identity: Some(identity), ..self }
    }

    async fn session(&self) -> Result<Session, Error> {
        let link = Link::open(&self.host, self.port, self.timing).await?;
        match self.lan {
            Lan::V15 => session15::open(link, &self.credentials).await,
            Lan::RmcpPlus => session20::open(link, &self.credentials).await,
        }
    }

    /// A session with the machine's own BMC.
    async fn own_session(&self) -> Result<Session, PowerError> {
        let mut session = self.session().await?;
        if let Some(identity) = &self.identity {
            // RMCP+ ends a log-in only with a BMC that knows the password; IPMI 1.5 takes its word.
            let proven = self.lan == Lan::RmcpPlus;
            identity.judge(told(&mut session).await?, proven)?;
        }
        Ok(session)
    }
}

/// The machine's GUID: by its command, else out of the log-in. A BMC that refuses the one and has nothing in the
/// other tells none; silence is no refusal.
async fn told(session: &mut Session) -> Result<Option<Guid>, Error> {
    let usable = |guid: &Guid| !guid.is_placeholder();
    let asked = session.command(SYSTEM_GUID).await;
    let in_login = session.guid();
    match asked {
        Ok(data) => Ok(parse_system_guid(&data).ok().filter(usable).or(in_login)),
        Err(Error::Refused { .. }) => Ok(in_login),
        Err(error) => in_login.filter(usable).map(Some).ok_or(error),
    }
}

impl Bmc for Ipmi {
    fn power_state(&self) -> BoxFuture<'_, Result<Power, PowerError>> {
        async {
            let data = self.own_session().await?.command(STATUS).await?;
            Ok(parse_chassis_status(&data).map_err(|source| Error::Answer { step: STATUS.step, source })?)
        }
        .boxed()
    }

    fn command<'a>(
        &'a self,
        action: Action,
        wanted: &'a dyn Precondition,
    ) -> BoxFuture<'a, Result<(), PowerError>> {
        async move {
            let mut session = self.own_session().await?;
            ask(wanted).await?;
            for step in steps(action) {
                match session.command(step.request).await {
                    Ok(_) => {}
                    Err(Error::Refused { .. }) if step.optional => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn kind(&self) -> Kind {
        Kind::Ipmi
    }

    fn peer(&self) -> &str {
        &self.peer
    }
}
