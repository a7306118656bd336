//! Writes a plan's conditions and records its events.
//!
//! Nobody else writes them, so the last look wins. Never says the same thing twice in a row.

use std::collections::HashMap;

use bloomery_api::Environment;
use bloomery_platform::events::Notice;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use parking_lot::Mutex;
use serde_json::json;
use tracing::info;

use super::plan::{News, Plan};
use crate::reconcile::{Context, Error};
use crate::table::{Key, key};

/// What was said last of each asset, by Environment and file.
#[derive(Debug, Default)]
pub(super) struct Said(Mutex<HashMap<(Key, &'static str), String>>);

impl Said {
    /// The event to record for these news, if they are any.
    fn fresh<'n>(&self, environment: &Key, news: &'n News) -> Option<&'n Notice> {
        let mut said = self.0.lock();
        let notice = news.notice.as_ref()?;
        let last = said.entry((environment.clone(), news.file)).or_default();
        let fresh = if news.is_start { last.is_empty() } else { *last != notice.message };
        if fresh {
            last.clone_from(&notice.message);
        }
        fresh.then_some(notice)
    }

    /// Forgets an Environment whose wishes have changed, or that is gone.
    pub(super) fn forget(&self, environment: &Key) {
        self.0.lock().retain(|(object, _), _| object != environment);
    }
}

/// Patches the status if it changes, then records the events.
pub(super) async fn write(
    context: &Context,
    said: &Said,
    environment: &Environment,
    plan: &Plan,
) -> Result<(), Error> {
    let name = environment.name_any();
    if let Some(status) = &plan.status {
        let environments: Api<Environment> = Api::all(context.client.clone());
        // An empty list must be sent as one: leaving it out would keep the old one.
        let patch = json!({ "status": { "conditions": status.conditions } });
        let written = environments
            .patch_status(&name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .map_err(Error::api("patch status of", format!("Environment {name}")))?;
        info!(environment = name, ready = written.is_ready(), "environment status changed");
    }
    for news in &plan.news {
        if let Some(notice) = said.fresh(&key(environment), news) {
            context.notify(environment, notice.clone());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_news_are_told_once_and_a_start_only_as_the_first() {
        let said = Said::default();
        let e = key(&Environment::new("e", bloomery_api::EnvironmentSpec::default()));
        let news = |message: &str, is_start| News {
            file: "vmlinuz",
            notice: Some(Notice { warning: false, reason: "r", action: "a", message: message.to_owned() }),
            is_start,
        };
        let told = |message: &str, is_start| said.fresh(&e, &news(message, is_start)).is_some();
        assert!(told("start", true));
        assert!(told("failed", false));
        assert!(!told("start", true) && !told("failed", false));
        assert!(told("here", false));
        said.forget(&e);
        assert!(told("start", true));
    }
}
