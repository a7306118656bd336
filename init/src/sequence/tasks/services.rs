//! Starts the service graph; from here on it runs by itself.

use crate::announce;
use crate::certificates;
use crate::context::{Context, State};
use crate::etcd;
use crate::pki::people;
use crate::sequence::Work;
use crate::service_requests::ServiceRequests;
use crate::services;
use crate::supervise::cgroup::Cgroups;
use crate::supervise::{Shared, Supervisor};
use std::sync::Arc;

/// Runs the phase.
pub fn run(context: Context) -> Work {
    Box::pin(async move {
        let (damaged, has_pki) = {
            let facts = context.facts();
            (facts.state == State::Damaged, facts.pki.is_some())
        };
        if damaged || !has_pki {
            context.warn(
                "state",
                "the control plane is not started: its state is damaged",
                "look at the messages of the phases `state` and `pki` above; restore a backup, or flash the image anew",
            );
            return Ok(());
        }
        let shared = Shared {
            reaper: context.reaper.clone(),
            cgroups: Cgroups::detect(context.container),
            logs: context.logs.clone(),
            console: context.console.clone(),
            status: context.status.clone(),
        };
        if !shared.cgroups.limit_memory() {
            context
                .console
                .line("the kernel counts no memory of groups here: each process is limited by itself");
        }
        let config = context.config();
        for line in announce::effect(&config) {
            context.console.line(line);
        }
        let supervisor =
            Supervisor::start(services::all(&certificates::inputs(&context, &config, 0)), &shared)?;
        let supervisor = Arc::new(supervisor);
        context.facts().supervisor = Some(Arc::clone(&supervisor));
        let people = context.facts().people.clone();
        if let Some(people) = people {
            let requests = ServiceRequests::new(supervisor, context.layout.logs());
            people::listen(&people, requests, &context.layout, context.accounts())?;
        }
        tokio::spawn(etcd::watch(context.clone()));
        Ok(())
    })
}
