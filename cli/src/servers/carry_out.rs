//! Carries an order out against the Kubernetes API.
//!
//! Never deletes a Server before the change that makes up for it was written.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bloomery_api::evidence::FORGET_ANNOTATION;
use bloomery_api::{Server, ServerBinding};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::runtime::conditions;
use kube::runtime::wait::await_condition;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::plan::{self, Other};
use super::{Order, Report};

/// Carries an order out, and says what was done.
pub(super) async fn carry_out(
    client: &Client,
    order: &Order,
    gone_within: Duration,
) -> anyhow::Result<Report> {
    let plane = Plane { servers: Api::all(client.clone()), bindings: Api::all(client.clone()), gone_within };
    match order {
        Order::Merge { other, into } => plane.merge(other, into).await,
        Order::Split { server, other } => plane.split(server, other).await,
        Order::Forget { server } => plane.forget(server).await,
    }
}

struct Plane {
    servers: Api<Server>,
    bindings: Api<ServerBinding>,
    gone_within: Duration,
}

impl Plane {
    async fn merge(&self, other: &str, into: &str) -> anyhow::Result<Report> {
        let into = self.server(into).await?;
        let found = self.other(other, &into).await?;
        let change = plan::merge(&into, &found)?;
        self.patch(&into, change).await?;
        let (removed, gone) = match &found {
            Other::Rival(_) => (Vec::new(), true),
            Other::Server { server, bound: _ } => {
                let gone = self.remove(server).await?;
                (vec![server.name_any()], gone)
            }
        };
        let name = into.name_any();
        let follows = match (removed.is_empty(), gone) {
            (true, _) => String::new(),
            (false, true) => format!(" Server {other} is gone."),
            (false, false) => format!(" Server {other} is being deleted; the plane has not let it go yet."),
        };
        let text = format!(
            "{other} is the machine of Server {name}, which keeps its binding and its record.{follows} Its inventory is \
             renewed when its agent calls next."
        );
        Ok(Report { action: "merge", server: name, other: Some(other.to_owned()), removed, gone, text })
    }

    async fn split(&self, server: &str, other: &str) -> anyhow::Result<Report> {
        let server = self.server(server).await?;
        let found = self.other(other, &server).await?;
        self.patch(&server, plan::split(&server, &found)?).await?;
        let name = server.name_any();
        let follows = match found {
            Other::Server { .. } => "Neither is held for the other any more.",
            Other::Rival(_) => "It gets a Server of its own when it registers next.",
        };
        let text = format!("{other} is another machine than that of Server {name}. {follows}");
        let other = Some(other.to_owned());
        Ok(Report { action: "split", server: name, other, removed: Vec::new(), gone: true, text })
    }

    async fn forget(&self, name: &str) -> anyhow::Result<Report> {
        let server = self.server(name).await?;
        let change = plan::forget(&server, self.is_bound(name).await?)?;
        self.patch(&server, change).await?;
        let gone = self.delete(&server).await?;
        let text = if gone {
            format!(
                "Server {name} is gone. Should its machine come back, a person decides about it: the plane remembers \
                 that a cluster had it."
            )
        } else {
            format!(
                "Server {name} is being deleted; the plane has not let it go yet: kubectl get server {name}"
            )
        };
        let removed = vec![name.to_owned()];
        Ok(Report { action: "forget", server: name.to_owned(), other: None, removed, gone, text })
    }

    async fn server(&self, name: &str) -> anyhow::Result<Server> {
        let found =
            self.servers.get_opt(name).await.with_context(|| format!("failed to get Server {name}"))?;
        found.with_context(|| format!("failed to find Server {name}; all of them: kubectl get servers"))
    }

    async fn is_bound(&self, name: &str) -> anyhow::Result<bool> {
        let found = self.bindings.get_opt(name).await;
        Ok(found.with_context(|| format!("failed to get ServerBinding {name}"))?.is_some())
    }

    /// A Server of that name, or a machine that showed the UUID of `server` and has that card.
    async fn other(&self, word: &str, server: &Server) -> anyhow::Result<Other> {
        // A hardware address is no name of an object, and asking for it would be a mistake of ours.
        let found = if word.contains(':') {
            None
        } else {
            self.servers.get_opt(word).await.with_context(|| format!("failed to get Server {word}"))?
        };
        match found {
            Some(found) => Ok(Other::Server { server: Box::new(found), bound: self.is_bound(word).await? }),
            None => Ok(plan::rival(word, server)?),
        }
    }

    async fn patch(&self, server: &Server, change: Value) -> anyhow::Result<()> {
        let name = server.name_any();
        match self.servers.patch(&name, &PatchParams::default(), &Patch::Merge(change)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => {
                bail!("failed to change Server {name}: it was written in between; look at it and try again")
            }
            Err(error) => Err(error).with_context(|| format!("failed to change Server {name}")),
        }
    }

    /// Lets a Server go whose marks another has now. It was free when it was looked at; what may be on its disks is the
    /// other's business, so the plane need not hold it.
    async fn remove(&self, server: &Server) -> anyhow::Result<bool> {
        let patch = json!({ "metadata": {
            "annotations": { FORGET_ANNOTATION: server.metadata.uid },
            "uid": server.metadata.uid,
        } });
        self.patch(server, patch).await?;
        self.delete(server).await
    }

    /// Deletes it and waits; whether it is gone.
    async fn delete(&self, server: &Server) -> anyhow::Result<bool> {
        let name = server.name_any();
        let uid = server.metadata.uid.clone().unwrap_or_default();
        let preconditions = Preconditions { uid: server.metadata.uid.clone(), resource_version: None };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match self.servers.delete(&name, &parameters).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(true),
            Err(error) => return Err(error).with_context(|| format!("failed to delete Server {name}")),
        }
        let gone = await_condition(self.servers.clone(), &name, conditions::is_deleted(&uid));
        match tokio::time::timeout(self.gone_within, gone).await {
            Ok(Ok(_)) => Ok(true),
            // It is deleted; only how long that takes is not known.
            Ok(Err(_)) | Err(_) => Ok(false),
        }
    }
}
