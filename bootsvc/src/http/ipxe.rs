//! `/ipxe`: one machine asks what it boots. The decision, the boot token that goes with the agent, and the answer.
//!
//! It must never give a boot token to a client that is not known to be the machine it names.

use axum::body::Body;
use bloomery_api::Server;
use bloomery_api::arch::Arch;
use bloomery_api::decision::boot::BootAnswer;
use bloomery_api::decision::identity::{Identity, Marks, Proof};
use bloomery_api::plane::Authority;
use http::{Method, Response, StatusCode};

use super::context::Context;
use super::decide::{self, Surroundings};
use super::files::text;
use super::hand_out::{self, Asked, Withheld};
use super::lookup::{Asking, Decided};
use super::query::Query;
use super::{architecture, grant, lookup};
use crate::advertise::Endpoint;
use crate::connection::Connection;
use crate::neighbours::Seen;
use crate::services::Services;
use crate::turns::Line;
use crate::{admitted, agent, conflicts, last_call, trace};

pub(super) async fn answer(
    context: &Context,
    connection: Connection,
    query: Query,
    endpoint: Endpoint,
    method: Method,
) -> Response<Body> {
    let services = &*context.services;
    let seen = services.neighbours.seen(connection.peer).await;
    let client = Client { services, connection, query: &query, seen: &seen };
    let turn = match context.turns.turn(connection.peer.ip(), client.line()).await {
        Ok(turn) => turn,
        Err(error) => {
            tracing::warn!(client = %connection.peer, uuid = query.uuid, %error, "machine turned away");
            services.edge.metrics.turns_refused.inc();
            return text(StatusCode::SERVICE_UNAVAILABLE, String::new(), &method);
        }
    };
    let (decided, Given { agent: token, node }) = client.decide(&method).await;
    drop(turn);
    let is_node = matches!(decided.decision.answer, BootAnswer::Environment { .. });
    let link = if is_node { services.link.address(&services.kubernetes).await } else { None };
    let server = decided.server.as_ref().and_then(|server| server.metadata.name.as_deref());
    let sealing = if token.is_some() { services.tokens.plane_fingerprint().await } else { None };
    let surroundings = Surroundings {
        endpoint: &endpoint,
        mac: query.mac.as_deref(),
        platform: query.platform,
        token: token.as_deref(),
        plane: sealing.as_deref(),
        grant: server.zip(node.as_deref()),
        link,
        extra_agent_args: &services.sidero.extra_agent_kernel_args,
        directories: &services.directories,
    };
    let answer = decide::answer(&decided.decision.answer, decided.environment.as_deref(), &surroundings);
    client.report(&decided, answer.status, &endpoint);
    text(answer.status, answer.body, &method)
}

/// The tokens that go with an answer.
#[derive(Default)]
struct Given {
    /// Of the agent.
    agent: Option<String>,
    /// Of the node system.
    node: Option<String>,
}

struct Client<'a> {
    services: &'a Services,
    connection: Connection,
    query: &'a Query,
    seen: &'a Seen,
}

impl Client<'_> {
    fn marks(&self) -> Marks {
        let Query { uuid, mac, serial, .. } = self.query;
        Marks::of_query(uuid.as_deref(), mac.as_deref(), Some(serial.as_str()))
    }

    /// Machines whose card an accepted Server has, and that may have that card, come first.
    fn line(&self) -> Line {
        let mac = self.query.mac.as_deref();
        let may_have_it = match self.seen {
            Seen::Card(card) => Some(card.as_str()) == mac,
            Seen::Beyond => true,
            Seen::Unknown => false,
        };
        let known = mac.is_some()
            && may_have_it
            && self.services.objects.servers.is_accepted(mac, None) == Some(true);
        if known { Line::Known } else { Line::Strangers }
    }

    async fn decide(&self, method: &Method) -> (Decided, Given) {
        let Self { services, connection, query, seen } = *self;
        let authority = services.authority.current().await;
        let lists = services.machines.lists();
        let asking = Asking {
            services,
            authority: &authority,
            query,
            seen,
            admitted: admitted::is_admitted(&lists, connection, seen, &[query.mac.as_deref()]),
        };
        // A HEAD request boots nothing: it puts nothing on record.
        if method == Method::HEAD {
            return (lookup::decide(&asking).await, Given::default());
        }
        let (decided, node) = grant::decide(&asking).await;
        let agent = self.hand_out(&decided, &authority).await;
        if let Some(identity) = &decided.identity {
            conflicts::note(services, identity, &self.marks(), &authority).await;
        }
        if let Some(server) = &decided.server {
            last_call::note(&services.kubernetes, &authority, server).await;
        }
        if query.arch == Arch::Arm64
            && let Some(server) = &decided.server
            && self.subject(&decided, &authority).and_then(|name| self.judge(&decided, &name)).is_ok()
        {
            architecture::note(&services.kubernetes, query.arch, &decided.decision.answer, server).await;
        }
        (decided, Given { agent, node })
    }

    /// The name that the token is for: the machine's Server, or the name that it will have.
    fn subject(&self, decided: &Decided, authority: &Authority) -> Result<String, Withheld> {
        let uuid = || self.query.uuid.as_deref().and_then(|uuid| agent::decide::server_name(uuid).ok());
        match &decided.identity {
            // A Server that has cards on record tells its machine by them, and by nothing less: that is judged later.
            Some(Identity::Same { server, by: Proof::Card | Proof::Uuid }) => Ok(server.clone()),
            Some(Identity::Same { server: _, by: Proof::Serial }) => Err(Withheld::UnknownCard),
            Some(Identity::New) => {
                let uuid = uuid().ok_or(Withheld::NoIdentity)?;
                Ok(self
                    .services
                    .objects
                    .servers
                    .new_name(&self.marks(), authority)
                    .ok()
                    .flatten()
                    .unwrap_or(uuid))
            }
            // It registers, is held, and writes nothing.
            Some(Identity::Other { .. } | Identity::Suspect { .. }) => Err(Withheld::Held),
            Some(Identity::Unnamed) | None => Err(Withheld::NoIdentity),
        }
    }

    /// Whether nothing speaks against it that the machine of this name itself asks.
    fn judge(&self, decided: &Decided, subject: &str) -> Result<(), Withheld> {
        let server: Option<&Server> = decided.server.as_deref();
        let alive_elsewhere = self.services.tokens.is_alive_elsewhere(subject, self.connection.peer.ip());
        hand_out::judge(Asked { mac: self.query.mac.as_deref(), seen: self.seen, server, alive_elsewhere })
    }

    /// The token for a machine that is given the agent; a machine that boots something else has no agent from now on.
    async fn hand_out(&self, decided: &Decided, authority: &Authority) -> Option<String> {
        let judged =
            self.subject(decided, authority).and_then(|name| self.judge(decided, &name).map(|()| name));
        let arch = match &decided.decision.answer {
            BootAnswer::Agent { arch } => *arch,
            BootAnswer::Environment { .. } | BootAnswer::BootFromDisk { .. } => {
                if let Ok(name) = judged {
                    self.services.tokens.end(&name);
                }
                return None;
            }
            BootAnswer::NotFound | BootAnswer::NotReady { .. } | BootAnswer::Unavailable => return None,
        };
        if !self.services.directories.has_agent(arch) {
            return None;
        }
        let (client, uuid) = (self.connection.peer, self.query.uuid.as_deref());
        let name = match judged {
            Ok(name) => name,
            Err(why) => {
                let (mac, card) = (self.query.mac.as_deref(), self.seen.card());
                tracing::warn!(%client, uuid, mac, card, %why, "agent given without boot token");
                return None;
            }
        };
        match self.services.tokens.give(&name).await {
            Ok(token) => {
                if decided.server.is_some() {
                    self.services.tokens.keep(&name);
                }
                Some(token)
            }
            Err(error) => {
                let error = bloomery_base::chain(&error);
                tracing::warn!(%client, uuid, error, "agent given without boot token");
                None
            }
        }
    }

    fn report(&self, decided: &Decided, status: StatusCode, endpoint: &Endpoint) {
        let Self { services, connection, query, .. } = self;
        let edge = &services.edge;
        edge.metrics.http_scripts.inc();
        let (told, reason) = (trace::Decided::from(&decided.decision.answer), &decided.decision.reason);
        let (uuid, mac) = (query.uuid.as_deref(), query.mac.as_deref());
        edge.trace.decision(uuid, mac, connection.peer.ip(), told, reason);
        edge.metrics.decided(told);
        if status.is_server_error() {
            edge.metrics.http_undecided.inc();
        }
        tracing::info!(
            client = %connection.peer,
            uuid,
            mac,
            arch = query.arch.as_str(),
            serial = query.serial,
            %endpoint,
            status = status.as_u16(),
            decision = ?decided.decision.answer,
            reason,
            "machine told what to boot"
        );
    }
}
