//! `GET /metrics`: this process's on loopback; for the admin on the network, those of every service together.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::App;
use super::admin::Admin;
use super::refusal::Refusal;

/// The Prometheus text exposition format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4";

pub(super) async fn for_admin(State(app): State<Arc<App>>, _: Admin) -> Result<impl IntoResponse, Refusal> {
    let mut text = own(&app);
    text.push_str("# HELP appliance_service_up Whether the service gave its metrics.\n");
    text.push_str("# TYPE appliance_service_up gauge\n");
    let mut theirs = String::new();
    // One after another: a service that hangs delays the rest by its limit, and scrapes are rare.
    for neighbour in &app.neighbours {
        let answer = neighbour.get("/metrics").await;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "appliance_service_up{{service=\"{}\"}} {}",
            neighbour.name,
            u8::from(answer.is_ok())
        );
        match answer {
            Ok(body) => append(&mut theirs, &String::from_utf8_lossy(&body)),
            Err(error) => tracing::debug!(service = neighbour.name, %error, "no metrics"),
        }
    }
    text.push_str(&theirs);
    Ok(([(header::CONTENT_TYPE, TEXT_FORMAT)], text))
}

pub(super) async fn for_loopback(State(app): State<Arc<App>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, TEXT_FORMAT)], own(&app))
}

fn own(app: &App) -> String {
    app.metrics.render(app.connections.open(), app.tls.borrow().expires)
}

/// Adds one service's text. `# EOF` ends an exposition in the `OpenMetrics` form and would hide what comes after it.
fn append(all: &mut String, text: &str) {
    for line in text.lines().filter(|line| *line != "# EOF") {
        all.push_str(line);
        all.push('\n');
    }
}
