//! `/configdata`: a machine asks for its configuration (spec/sidero.md §4, promise S5).
//!
//! The controllers made it; here it is decided who gets it. A delivery is on record before its last octet is sent, so that
//! what was delivered in full is never forgotten. It must never show a stage's error, which may quote the configuration,
//! to a client that may not have it.

use std::net::IpAddr;

use axum::body::Body;
use bloomery_api::lookup::Lookup;
use bloomery_api::metadata::delivery::Refusal;
use bloomery_api::metadata::sources::unbound;
use bloomery_api::{Server, ServerBinding};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderValue, Method, Response, StatusCode, header};
use kube::Client;

use super::context::Context;
use super::files::text;
use crate::agent::decide::canonical_uuid;
use crate::configuration::{self, Asker, Error};
use crate::connection::Connection;
use crate::events::Happening;
use crate::kernel_args::{TOKEN_KEY, UUID_KEY};
use crate::kubernetes::get;
use crate::neighbours::Seen;
use crate::turns::Line;

/// Reason of the event that a client was refused.
const REFUSED: &str = "ConfigurationRefused";
/// What a refused client is told: nothing that helps.
const REFUSAL: &str = "the machine configuration is for the boot that was told to fetch it";
/// What a client is told that is to ask again.
const AGAIN: &str = "the machine configuration cannot be given now";
/// Octets that are kept back until the delivery is on record.
const KEPT_BACK: usize = 1;

/// What a client asks.
struct Question {
    /// As it was sent.
    uuid: String,
    token: Option<String>,
}

impl Question {
    /// Of a repeated key the first counts, as in Go.
    fn parse(query: &str) -> Self {
        let value = |wanted: &str| {
            let found = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == wanted);
            found.map(|(_, value)| value.into_owned())
        };
        Self { uuid: value(UUID_KEY).unwrap_or_default(), token: value(TOKEN_KEY) }
    }
}

/// What a client gets.
enum Answer {
    Message(StatusCode, String),
    /// The configuration. With a boot, its delivery is to be recorded.
    Configuration(String, Option<Box<Delivery>>),
}

struct Delivery {
    client: Client,
    binding: ServerBinding,
    boot: String,
}

pub(super) async fn answer(
    context: &Context,
    connection: Connection,
    query: &str,
    method: &Method,
) -> Response<Body> {
    let question = Question::parse(query);
    let services = &*context.services;
    let seen = services.neighbours.seen(connection.peer).await;
    let known = services.objects.servers.is_accepted(seen.card(), None) == Some(true);
    let line = if known || seen == Seen::Beyond { Line::Known } else { Line::Strangers };
    let turn = match context.turns.turn(connection.peer.ip(), line).await {
        Ok(turn) => turn,
        Err(error) => {
            tracing::warn!(client = %connection.peer, uuid = question.uuid, %error, "machine turned away");
            services.edge.metrics.turns_refused.inc();
            return message(StatusCode::SERVICE_UNAVAILABLE, AGAIN, method);
        }
    };
    let answer = decide(context, connection.peer.ip(), &question, &seen).await;
    drop(turn);
    match answer {
        Answer::Message(status, body) => {
            let (client, uuid) = (connection.peer, &question.uuid);
            tracing::info!(%client, uuid, status = status.as_u16(), "machine configuration not given");
            message(status, &body, method)
        }
        Answer::Configuration(config, delivery) => {
            tracing::info!(client = %connection.peer, uuid = question.uuid, "machine configuration given");
            services.edge.metrics.configurations_given.inc();
            deliver(config, delivery, method)
        }
    }
}

/// As Go's handler writes an error.
fn message(status: StatusCode, body: &str, method: &Method) -> Response<Body> {
    let mut response = text(status, format!("{body}\n"), method);
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn deliver(config: String, delivery: Option<Box<Delivery>>, method: &Method) -> Response<Body> {
    let Some(delivery) = delivery.filter(|_| method != Method::HEAD) else {
        return text(StatusCode::OK, config, method);
    };
    let mut response = text(StatusCode::OK, config.clone(), &Method::HEAD);
    let whole = Bytes::from(config);
    let rest = whole.slice(whole.len().saturating_sub(KEPT_BACK)..);
    let first = whole.slice(..whole.len() - rest.len());
    let last = async move {
        let Delivery { client, binding, boot } = *delivery;
        match configuration::record_delivery(&client, &binding, &boot).await {
            Ok(()) => Ok(rest),
            Err(error) => {
                let error = bloomery_base::chain(&error);
                tracing::warn!(server = binding.metadata.name, error, "delivery not recorded: cut");
                Err(std::io::Error::other("delivery not recorded"))
            }
        }
    };
    let parts = futures::stream::iter([Ok(first)]).chain(futures::stream::once(last));
    *response.body_mut() = Body::from_stream(parts);
    response
}

async fn decide(context: &Context, client: IpAddr, question: &Question, seen: &Seen) -> Answer {
    let services = &*context.services;
    let of_us = |status: StatusCode, body: &str| Answer::Message(status, body.to_owned());
    if question.uuid.is_empty() {
        return of_us(StatusCode::INTERNAL_SERVER_ERROR, "received metadata request with empty uuid");
    }
    let unreachable = || {
        let why = "failure getting server binding: the Kubernetes API does not answer";
        of_us(StatusCode::INTERNAL_SERVER_ERROR, why)
    };
    let Some(api) = services.kubernetes.client() else { return unreachable() };
    // What cannot be the name of an object need not be asked for.
    let Some(name) = canonical_uuid(&question.uuid).or_else(|| object_name(&question.uuid)) else {
        return of_us(StatusCode::NOT_FOUND, &unbound(&question.uuid));
    };
    let authority = services.authority.current().await;
    if !authority.acts() {
        return of_us(StatusCode::SERVICE_UNAVAILABLE, AGAIN);
    }
    let binding = match get::<ServerBinding>(&api, &name).await {
        Lookup::Found(binding) => binding,
        Lookup::NotFound => return of_us(StatusCode::NOT_FOUND, &unbound(&question.uuid)),
        Lookup::Failed => return unreachable(),
    };
    let mut delivery = None;
    if services.sidero.require_config_token {
        let server = match get::<Server>(&api, &name).await {
            Lookup::Found(server) => server,
            Lookup::NotFound => {
                let why =
                    format!("failure fetching server {name}: servers.metal.sidero.dev \"{name}\" not found");
                return of_us(StatusCode::INTERNAL_SERVER_ERROR, &why);
            }
            Lookup::Failed => return of_us(StatusCode::SERVICE_UNAVAILABLE, AGAIN),
        };
        let asker = Asker { token: question.token.as_deref(), seen };
        match configuration::judge(&services.tokens, &server, &binding, &authority, asker).await {
            Ok(Ok(boot)) => delivery = Some(boot),
            Ok(Err(refusal)) => return refuse(context, &server, client, seen, refusal),
            Err(error) => return failed(&name, &error),
        }
    }
    let rendered = match configuration::read(&api, &binding).await {
        Ok(rendered) => rendered,
        Err(error) => return failed(&name, &error),
    };
    services.edge.trace.configuration(&name, client, rendered.outcome.is_ok());
    match rendered.outcome {
        Ok((config, verdict)) => {
            // A node cannot load it, and asks for the mended one: that it has this one ends nothing.
            let boot = delivery.filter(|_| verdict.flaw.is_none());
            let delivery = boot.map(|boot| Box::new(Delivery { client: api, binding, boot }));
            Answer::Configuration(config, delivery)
        }
        Err(failure) => {
            let status = StatusCode::from_u16(failure.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Answer::Message(status, failure.message)
        }
    }
}

/// The text, if it can be the name of an object (RFC 1123).
fn object_name(text: &str) -> Option<String> {
    const LONGEST: usize = 253;
    let is_of_name = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit();
    let is_name = text.len() <= LONGEST
        && text.bytes().all(|octet| is_of_name(octet) || octet == b'-' || octet == b'.')
        && text.bytes().next().is_some_and(is_of_name);
    is_name.then(|| text.to_owned())
}

fn failed(name: &str, error: &Error) -> Answer {
    tracing::warn!(server = name, error = bloomery_base::chain(error), "machine configuration not had");
    Answer::Message(StatusCode::SERVICE_UNAVAILABLE, AGAIN.to_owned())
}

fn refuse(context: &Context, server: &Server, client: IpAddr, seen: &Seen, refusal: Refusal) -> Answer {
    let services = &*context.services;
    let name = server.metadata.name.as_deref().unwrap_or_default();
    let card = seen.card();
    tracing::warn!(%client, card, server = name, %refusal, "machine configuration refused");
    services.edge.metrics.configurations_refused.inc();
    if refusal.may_pass() {
        return Answer::Message(StatusCode::SERVICE_UNAVAILABLE, AGAIN.to_owned());
    }
    if context.told.is_news(name, refusal) {
        let card = card.map(|card| format!(" with network card {card}")).unwrap_or_default();
        let text = format!(
            "A client at {client}{card} asked for the machine configuration and got nothing: {refusal}."
        );
        services.events.record(Happening::of(server, REFUSED, text).warning());
    }
    Answer::Message(StatusCode::FORBIDDEN, REFUSAL.to_owned())
}
