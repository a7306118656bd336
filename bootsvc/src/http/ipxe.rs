//! `/ipxe`: one machine asks what it boots. The decision, the boot token that goes with the agent, and the answer.
//!
//! It must never give a boot token to a client that is not known to be the machine it names.

use axum::body::Body;
use bloomery_api::Server;
use bloomery_api::decision::boot::{Arch, BootAnswer};
use http::{Method, Response};

use super::decide::{self, Surroundings};
use super::hand_out::{self, Asked, Withheld};
use super::query::Query;
use super::serve::{Connection, Context, text};
use super::{architecture, claim, lookup};
use crate::advertise::Endpoint;
use crate::agent;
use crate::neighbours::Seen;
use crate::trace::Decided;

/// Answers one request.
pub(super) async fn answer(
    context: &Context,
    connection: Connection,
    query: Query,
    endpoint: Endpoint,
    method: Method,
) -> Response<Body> {
    let seen = context.neighbours.seen(connection.peer).await;
    let turn = context.kubernetes.turn().await;
    let authority = context.authority.current().await;
    let method_from_disk = context.boot_from_disk;
    // A HEAD request boots nothing: it puts nothing on record.
    let decided = if method == Method::HEAD {
        lookup::decide(&context.kubernetes, &authority, &query, method_from_disk).await
    } else {
        claim::decide(&context.kubernetes, &authority, &query, method_from_disk).await
    };
    let client = Client { context, connection, query: &query, seen: &seen };
    let token = if method == Method::HEAD { None } else { client.hand_out(&decided).await };
    if query.arch == Arch::Arm64
        && let Some(server) = &decided.server
        && client.judge(Some(server)).is_ok()
    {
        architecture::note(&context.kubernetes, query.arch, &decided.decision.answer, server).await;
    }
    drop(turn);
    let surroundings = Surroundings {
        endpoint: &endpoint,
        mac: query.mac.as_deref(),
        platform: query.platform,
        token: token.as_deref(),
        extra_agent_args: &context.extra_agent_args,
        directories: &context.directories,
    };
    let answer = decide::answer(&decided.decision.answer, decided.environment.as_deref(), &surroundings);
    context.metrics.http_scripts.increment();
    let (told, reason) = (Decided::from(&decided.decision.answer), &decided.decision.reason);
    context.trace.decision(query.uuid.as_deref(), query.mac.as_deref(), connection.peer.ip(), told, reason);
    context.metrics.decided(told);
    if answer.status.is_server_error() {
        context.metrics.http_undecided.increment();
    }
    tracing::info!(
        client = %connection.peer,
        uuid = query.uuid,
        mac = query.mac,
        arch = query.arch.as_str(),
        serial = query.serial,
        %endpoint,
        status = answer.status.as_u16(),
        decision = ?decided.decision.answer,
        reason = decided.decision.reason,
        "machine told what to boot"
    );
    text(answer.status, answer.body, &method)
}

/// Who asks.
struct Client<'a> {
    context: &'a Context,
    connection: Connection,
    query: &'a Query,
    seen: &'a Seen,
}

impl Client<'_> {
    /// Whether nothing speaks against it that the machine of this Server itself asks.
    fn judge(&self, server: Option<&Server>) -> Result<(), Withheld> {
        let uuid = self.query.uuid.as_deref().ok_or(Withheld::NoIdentity)?;
        agent::decide::server_name(uuid).map_err(|_| Withheld::NoIdentity)?;
        let alive_elsewhere = self.context.tokens.is_alive_elsewhere(uuid, self.connection.peer.ip());
        hand_out::judge(Asked { mac: self.query.mac.as_deref(), seen: self.seen, server, alive_elsewhere })
    }

    /// The token for a machine that is given the agent; a machine that boots something else has no agent from now on.
    async fn hand_out(&self, decided: &lookup::Decided) -> Option<String> {
        let uuid = self.query.uuid.as_deref()?;
        let judged = self.judge(decided.server.as_ref());
        let arch = match &decided.decision.answer {
            BootAnswer::Agent { arch } => *arch,
            BootAnswer::Environment { .. } | BootAnswer::BootFromDisk { .. } => {
                if judged.is_ok() {
                    self.context.tokens.end(uuid);
                }
                return None;
            }
            BootAnswer::NotFound | BootAnswer::NotReady { .. } | BootAnswer::Unavailable => return None,
        };
        if !self.context.directories.has_agent(arch) {
            return None;
        }
        let client = self.connection.peer;
        if let Err(why) = judged {
            let (mac, card) = (self.query.mac.as_deref(), self.seen.card());
            tracing::warn!(%client, uuid, mac, card, %why, "agent given without boot token");
            return None;
        }
        match self.context.tokens.give(uuid).await {
            Ok(token) => {
                if decided.server.is_some() {
                    self.context.tokens.keep(uuid);
                }
                Some(token)
            }
            Err(error) => {
                let error = crate::error::chain(&error);
                tracing::warn!(%client, uuid, error, "agent given without boot token");
                None
            }
        }
    }
}
