//! The agent's calls against a fake Kubernetes API.

mod attacks;
mod calls;
mod management;
mod mapping;
mod restored;
mod wiping;

use std::time::{Duration, Instant};

use bloomery_agent_api::TOKEN_METADATA;
use serde_json::Value;

use crate::http::tests::Lab;

/// A request that shows `token`.
fn with<T>(message: T, token: Option<&str>) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    if let Some(token) = token {
        request.metadata_mut().insert(TOKEN_METADATA, token.parse().unwrap());
    }
    request
}

/// The events, once there are so many; they are written beside the answers.
async fn events(lab: &Lab, count: usize) -> Vec<Value> {
    let patience = std::env::var("PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let started = Instant::now();
    loop {
        let events = lab.api.objects_below("/api/v1/namespaces/default/events/");
        if events.len() >= count {
            return events;
        }
        assert!(started.elapsed() < Duration::from_secs(10 * patience), "{count} events: {events:?}");
        tokio::task::yield_now().await;
    }
}
