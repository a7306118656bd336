//! Power control by IPMI: one session for each command.
//!
//! Never keeps a session open: BMCs have few, and people need them too.

use futures::FutureExt;
use futures::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};

use super::commands::{STATUS, parse_chassis_status, steps};
use super::error::Error;
use super::link::{Link, Timing};
use super::session::Session;
use super::{session15, session20};
use crate::bmc::{Action, Driver, Kind, Power};
use crate::endpoint::authority;
use crate::error::Cause;
use crate::select::Lan;
use crate::wanted::{Wanted, ask};

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

/// A BMC reached by IPMI over LAN.
#[derive(Debug, Clone)]
pub struct Ipmi {
    host: String,
    port: u16,
    peer: String,
    lan: Lan,
    credentials: Credentials,
    timing: Timing,
}

impl Ipmi {
    /// Power control of the BMC at `host`; connects to nothing yet.
    pub fn new(host: &str, port: u16, lan: Lan, credentials: Credentials, timing: Timing) -> Self {
        Self { host: host.to_owned(), port, peer: authority(host, port), lan, credentials, timing }
    }

    async fn session(&self) -> Result<Session, Error> {
        let link = Link::open(&self.host, self.port, self.timing).await?;
        match self.lan {
            Lan::V15 => session15::open(link, &self.credentials).await,
            Lan::RmcpPlus => session20::open(link, &self.credentials).await,
        }
    }

    async fn status(&self) -> Result<Power, Error> {
        let data = self.session().await?.command(STATUS).await?;
        parse_chassis_status(&data).map_err(|source| Error::Answer { step: STATUS.step, source })
    }

    async fn perform(&self, action: Action, wanted: &dyn Wanted) -> Result<(), Cause> {
        let mut session = self.session().await.map_err(Cause::Ipmi)?;
        ask(wanted).await?;
        for step in steps(action) {
            match session.command(step.request).await {
                Ok(_) => {}
                Err(Error::Refused { .. }) if step.optional => {}
                Err(error) => return Err(Cause::Ipmi(error)),
            }
        }
        Ok(())
    }
}

impl Driver for Ipmi {
    fn read(&self) -> BoxFuture<'_, Result<Power, Cause>> {
        async { self.status().await.map_err(Cause::Ipmi) }.boxed()
    }

    fn act<'a>(&'a self, action: Action, wanted: &'a dyn Wanted) -> BoxFuture<'a, Result<(), Cause>> {
        self.perform(action, wanted).boxed()
    }

    fn kind(&self) -> Kind {
        Kind::Ipmi
    }

    fn peer(&self) -> &str {
        &self.peer
    }
}
