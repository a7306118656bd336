//! The client: requests queue for one child, which is started when it is needed and ends when it is not.

use std::sync::Arc;
use std::time::Duration;

use bloomery_sys::launcher::{self, Launcher};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::answer::{self, ClientCertificate, Inspected, KeyPair, SecretsCas, Validation, Version};
use crate::error::{Error, Refusal};
use crate::process::{NoLine, Process};
use crate::request::{self, Generate, Level, Patch, SecretsBundle};
use crate::secret::Secret;

/// What the child reads at most, its line feed included; the child's own limit is the same.
const MAX_REQUEST: usize = 4 << 20;
/// Requests that wait; those beyond wait for a place.
const QUEUE: usize = 64;
/// Most requests are smaller: larger ones leave a copy behind in memory when they grow.
const USUAL_REQUEST: usize = 64 * 1024;

/// What a client allows its child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For an answer, from the moment that the child has the request. Most take milliseconds.
    pub answer: Duration,
    /// The same for new secrets: they have an RSA key of 4,096 bits, for which the child looks for primes.
    pub new_secrets: Duration,
    /// Without a request for so long, the child ends; it has 28 MiB of its own, and a new one starts in a tenth
    /// of a second.
    pub idle: Duration,
    /// Octets of an answer.
    pub answer_octets: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(20),
            new_secrets: Duration::from_mins(2),
            idle: Duration::from_mins(1),
            // The child's own limit is 4 MiB; what it says above it is no answer.
            answer_octets: (4 << 20) + 1024,
        }
    }
}

/// Asks Talos's library. Clones share one child; requests wait in turn. A caller that goes away takes its request with it
/// if the child does not have it yet.
#[derive(Debug, Clone)]
pub struct Client {
    jobs: mpsc::Sender<Job>,
    limits: Limits,
}

impl Client {
    /// Takes the launcher over. The child is started with the first request. Within a tokio runtime only.
    pub fn new(launcher: Launcher, limits: Limits) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE);
        tokio::spawn(Worker { launcher: Arc::new(launcher), limits, process: None, last: 0 }.run(queue));
        Self { jobs, limits }
    }

    /// The library and what it knows.
    pub async fn version(&self) -> Result<Version, Error> {
        #[derive(Serialize)]
        struct Nothing {}
        self.ask("version", "ask for the version", &Nothing {}).await
    }

    /// New secrets for a cluster of this version contract (see [`Generate::talos_version`]), as a bundle. It takes seconds.
    pub async fn new_secrets(&self, talos_version: &str) -> Result<Secret, Error> {
        let params = request::NewSecrets { talos_version };
        self.ask("secrets", "make secrets", &params).await.map(|answer: answer::Bundle| answer.bundle)
    }

    /// The authorities of a bundle.
    pub async fn inspect_secrets(&self, secrets: &SecretsBundle) -> Result<SecretsCas, Error> {
        self.ask("inspect-secrets", "read the secrets", &request::OfSecrets { secrets }).await
    }

    /// A configuration, without comments. The last strategic patch has it read strictly once more; what JSON patches alone
    /// made is left as it is, unknown keys included.
    pub async fn generate(&self, params: &Generate) -> Result<Secret, Error> {
        self.ask("generate", "generate a machine configuration", params)
            .await
            .map(|answer: answer::Config| answer.config)
    }

    /// Applies patches, in this order, to a configuration as it is.
    pub async fn patch(&self, config: &Secret, patches: &[Patch]) -> Result<Secret, Error> {
        self.patched(config, patches, false).await
    }

    /// Reads a configuration strictly, takes its comments away, and applies patches: what a provider does with one that a user
    /// wrote (`generateType: none`).
    pub async fn normalize(&self, config: &Secret, patches: &[Patch]) -> Result<Secret, Error> {
        self.patched(config, patches, true).await
    }

    async fn patched(&self, config: &Secret, patches: &[Patch], strict: bool) -> Result<Secret, Error> {
        let params = request::PatchConfig { config, strict, patches };
        self.ask("patch", "patch a machine configuration", &params)
            .await
            .map(|answer: answer::Config| answer.config)
    }

    /// What a configuration says: authorities, tokens, secrets.
    pub async fn inspect_config(&self, config: &Secret) -> Result<Inspected, Error> {
        self.ask("inspect-config", "read a machine configuration", &request::OfConfig { config }).await
    }

    /// What Talos on metal thinks of a configuration. A text that is none is a result too.
    pub async fn validate(&self, config: &Secret, level: Level) -> Result<Validation, Error> {
        let params = request::Validate { config, level, mode: "metal" };
        self.ask("validate", "check a machine configuration", &params).await
    }

    /// A talosconfig of an administrator, good for a year, with one context named after the cluster. Each has a key of its own.
    pub async fn talosconfig(
        &self,
        secrets: &SecretsBundle,
        cluster: &str,
        endpoints: &[String],
    ) -> Result<Secret, Error> {
        let params = request::Talosconfig { secrets, cluster, endpoints };
        self.ask("talosconfig", "make a talosconfig", &params)
            .await
            .map(|answer: answer::Talosconfig| answer.talosconfig)
    }

    /// A client certificate of the Talos API for roles such as `os:reader`; at most ten years.
    pub async fn client_certificate(
        &self,
        secrets: &SecretsBundle,
        roles: &[&str],
        life: Duration,
    ) -> Result<ClientCertificate, Error> {
        // 0 would mean the library's default.
        let params = request::ForClient { secrets, roles, ttl: life.as_secs().max(1) };
        self.ask("client-cert", "make a client certificate", &params).await
    }

    /// An administrator's kubeconfig, good for a year, as Cluster API makes it: context `<cluster>-admin@<cluster>`.
    pub async fn kubeconfig(&self, cluster: &str, server: &str, ca: &KeyPair) -> Result<Secret, Error> {
        let params = request::Kubeconfig { cluster, server, ca };
        self.ask("kubeconfig", "make a kubeconfig", &params)
            .await
            .map(|answer: answer::Kubeconfig| answer.kubeconfig)
    }

    async fn ask<T: DeserializeOwned + Send + 'static>(
        &self,
        name: &'static str,
        operation: &'static str,
        params: &impl Serialize,
    ) -> Result<T, Error> {
        let limit = if name == "secrets" { self.limits.new_secrets } else { self.limits.answer };
        let params = serde_json_line(params).map_err(|source| Error::Request { operation, source })?;
        let (reply, result) = oneshot::channel();
        let take = move |outcome: Result<Taken<'_>, Error>| {
            let (verdict, result) = match outcome {
                Ok(taken) => taken.read(operation),
                Err(error) => (Verdict::Keep, Err(error)),
            };
            // The caller may have gone away.
            let _ = reply.send(result);
            verdict
        };
        let job = Job { name, operation, params, limit, take: Box::new(take) };
        self.jobs.send(job).await.map_err(|_| Error::Stopped { operation })?;
        result.await.map_err(|_| Error::Stopped { operation })?
    }
}

fn serde_json_line(params: &impl Serialize) -> serde_json::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(USUAL_REQUEST));
    serde_json::to_writer(&mut *line, params)?;
    Ok(line)
}

/// One request. Its end goes to `take`, which knows the type of the answer.
struct Job {
    name: &'static str,
    operation: &'static str,
    params: Zeroizing<Vec<u8>>,
    limit: Duration,
    take: Take,
}

type Take = Box<dyn FnOnce(Result<Taken<'_>, Error>) -> Verdict + Send>;

/// A line of the child, and the number of the request that it should answer.
struct Taken<'a> {
    line: &'a [u8],
    id: u64,
}

/// What becomes of the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Keep,
    Replace,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer<T> {
    id: u64,
    // By name: `Option` alone would want `T: Default`.
    #[serde(default = "Option::default")]
    ok: Option<T>,
    #[serde(default)]
    error: Option<Refusal>,
}

impl Taken<'_> {
    fn read<T: DeserializeOwned>(&self, operation: &'static str) -> (Verdict, Result<T, Error>) {
        match serde_json::from_slice::<Answer<T>>(self.line) {
            Ok(Answer { id, ok: Some(result), error: None }) if id == self.id => (Verdict::Keep, Ok(result)),
            Ok(Answer { id, ok: None, error: Some(refusal) }) if id == self.id => {
                (Verdict::Keep, Err(Error::Refused { operation, refusal }))
            }
            _ => (Verdict::Replace, Err(Error::Garbage { operation })),
        }
    }
}

/// The one task that talks to the child: a caller that gives up leaves no half-read answer behind.
struct Worker {
    launcher: Arc<Launcher>,
    limits: Limits,
    process: Option<Process>,
    last: u64,
}

impl Worker {
    async fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        loop {
            match timeout(self.limits.idle, queue.recv()).await {
                Ok(Some(job)) => self.serve(job).await,
                Ok(None) => break,
                Err(_) => drop(self.end().await),
            }
        }
        self.end().await;
    }

    async fn serve(&mut self, job: Job) {
        let Job { name, operation, params, limit, take } = job;
        self.last += 1;
        let id = self.last;
        let verdict = match self.exchange(id, name, operation, &params, limit).await {
            Ok(line) => take(Ok(Taken { line: &line, id })),
            Err(error) => take(Err(error)),
        };
        if verdict == Verdict::Replace {
            self.end().await;
        }
    }

    async fn exchange(
        &mut self,
        id: u64,
        name: &'static str,
        operation: &'static str,
        params: &[u8],
        limit: Duration,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let line = request_line(id, name, params);
        if line.len() > MAX_REQUEST {
            return Err(Error::RequestTooLong { operation, octets: line.len(), limit: MAX_REQUEST });
        }
        let octets = self.limits.answer_octets;
        let process = self.ready().await.map_err(Error::Start)?;
        let no_line = match timeout(limit, process.ask(&line, octets)).await {
            Ok(Ok(line)) => return Ok(line),
            Ok(Err(no_line)) => Some(no_line),
            Err(_) => None,
        };
        let how = self.end().await;
        tracing::warn!(operation, reason = ?no_line, how, "talosconfig is replaced");
        Err(match no_line {
            None => Error::TimedOut { operation, limit },
            Some(NoLine::TooLong) => Error::AnswerTooLong { operation, limit: octets },
            Some(NoLine::Unasked) => Error::Garbage { operation },
            Some(NoLine::Ended) => Error::Ended { operation, how },
        })
    }

    /// A child that waits for a request. One that ended while nobody asked it is no reason to fail a request.
    async fn ready(&mut self) -> Result<&mut Process, launcher::Error> {
        if self.process.as_mut().is_some_and(|process| !process.is_idle()) {
            let how = self.end().await;
            tracing::warn!(how, "talosconfig ended unasked");
        }
        if self.process.is_none() {
            self.process = Some(Process::start(&self.launcher).await?);
        }
        self.process.as_mut().ok_or(launcher::Error::Unreachable(std::io::ErrorKind::NotFound.into()))
    }

    /// Ends the child, and says how it ended.
    async fn end(&mut self) -> String {
        match self.process.take() {
            Some(process) => process.end().await,
            None => String::new(),
        }
    }
}

fn request_line(id: u64, name: &str, params: &[u8]) -> Zeroizing<Vec<u8>> {
    let head = format!(r#"{{"id":{id},"op":"{name}","params":"#);
    Zeroizing::new([head.as_bytes(), params, b"}\n"].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(line: &str) -> (Verdict, Result<answer::Config, Error>) {
        Taken { line: line.as_bytes(), id: 7 }.read("test")
    }

    #[test]
    fn only_the_answer_to_the_request_is_taken() {
        let (verdict, result) = taken(r#"{"id":7,"ok":{"config":"a"}}"#);
        assert_eq!((verdict, result.unwrap().config.expose()), (Verdict::Keep, "a"));
        let (verdict, result) =
            taken(r#"{"id":7,"error":{"code":"patchLoad","field":"patches[1]","message":"no\n"}}"#);
        let error = result.err().unwrap();
        assert_eq!((verdict, error.to_string().as_str()), (Verdict::Keep, "failed to test: patches[1]: no"));
        assert!(!error.is_retryable());
        for garbage in [
            "",
            "hello",
            "[]",
            "{}",
            r#"{"id":7}"#,
            r#"{"id":6,"ok":{"config":"a"}}"#,
            r#"{"id":7,"ok":{"config":"a"},"error":{"code":"input","message":"m"}}"#,
            r#"{"id":7,"ok":{"config":"a","more":1}}"#,
            r#"{"id":7,"ok":{}}"#,
            r#"{"id":7,"ok":{"config":"a"},"more":1}"#,
            r#"{"id":7,"error":{"code":"other","message":"m"}}"#,
            r#"{"id":7,"ok":{"config":"a"}} {}"#,
        ] {
            let (verdict, result) = taken(garbage);
            assert_eq!(verdict, Verdict::Replace, "{garbage}");
            assert!(matches!(result, Err(Error::Garbage { .. })), "{garbage}");
        }
    }

    #[test]
    fn a_request_is_one_line() {
        let line = request_line(3, "version", b"{}");
        assert_eq!(line.as_slice(), b"{\"id\":3,\"op\":\"version\",\"params\":{}}\n");
    }
}
