//! `/v1/services/NAME/…`: commands for services and their logs; `/v1/machines/NAME/log`: kernel logs of machines. PID 1
//! decides and has the files.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use bloomery_pairing::local::{self, Answer, Question};
use bloomery_pairing::wire::{LogPiece, LogQuery, ServiceCommand, ServiceResponse};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::App;
use super::admin::{Admin, Certified};
use super::pairings::require_json;
use super::refusal::Refusal;

/// How long a request waits for new lines; below the client's limit, and far below a connection's lifetime.
const WAIT: Duration = Duration::from_secs(20);
/// How often PID 1 is asked meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Requests that wait at once; a further one is answered with no lines.
const MAX_WAITING: usize = 16;

/// Room for requests that wait for lines.
#[derive(Debug)]
pub(crate) struct Waiting(Semaphore);

impl Default for Waiting {
    fn default() -> Self {
        Self(Semaphore::new(MAX_WAITING))
    }
}

pub(super) async fn tell(
    State(app): State<Arc<App>>,
    Certified { caller, holder }: Certified,
    Path((service, command)): Path<(String, ServiceCommand)>,
    headers: HeaderMap,
) -> Result<Json<ServiceResponse>, Refusal> {
    require_json(&headers)?;
    let (caller, address) = (holder.id().to_owned(), caller.address.to_string());
    let question = Question::Tell { caller, service: service.clone(), command, address };
    match ask(&app, &question).await? {
        Answer::Told { state } => {
            tracing::info!(service, command = command.as_str(), state, "told a service");
            Ok(Json(ServiceResponse { service, state }))
        }
        other => Err(Refusal::from_authority(other)),
    }
}

pub(super) async fn log(
    State(app): State<Arc<App>>,
    _: Admin,
    Path(service): Path<String>,
    Query(LogQuery { lines, after, wait }): Query<LogQuery>,
) -> Result<impl IntoResponse, Refusal> {
    read(&app, Question::Log { service, lines, after }, wait).await
}

pub(super) async fn machine_log(
    State(app): State<Arc<App>>,
    _: Admin,
    Path(server): Path<String>,
    Query(LogQuery { lines, after, wait }): Query<LogQuery>,
) -> Result<impl IntoResponse, Refusal> {
    read(&app, Question::MachineLog { server, lines, after }, wait).await
}

/// Asks for lines, and waits for new ones if that is wanted.
async fn read(app: &App, question: Question, wait: bool) -> Result<impl IntoResponse + use<>, Refusal> {
    let place = if wait { app.waiting.0.try_acquire().ok() } else { None };
    let deadline = Instant::now() + WAIT;
    loop {
        let piece: LogPiece = match ask(app, &question).await? {
            Answer::Log(piece) => piece,
            other => return Err(Refusal::from_authority(other)),
        };
        let is_empty = piece.text.is_empty() && !piece.more && !piece.skipped;
        if !is_empty || place.is_none() || Instant::now() >= deadline {
            return Ok(([(header::CACHE_CONTROL, "no-store")], Json(piece)));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn ask(app: &App, question: &Question) -> Result<Answer, Refusal> {
    local::ask(&app.files.authority, question).await.map_err(|error| Refusal::not_ready("service", &error))
}
