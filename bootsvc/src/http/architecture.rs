//! Notes on a Server that its machine is a 64-bit ARM one, when it asks for an Environment that is not here: the
//! controllers fetch some only then.
//!
//! Never keeps the answer from the machine, which asks again; nothing about amd64 is noted.

use bloomery_api::Server;
use bloomery_api::arch::Arch;
use bloomery_api::decision::boot::BootAnswer;
use bloomery_api::server::ARCH_LABEL;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::kubernetes::{ANSWER_WITHIN, Kubernetes};

/// The change, if there is one to make.
fn change(arch: Arch, answer: &BootAnswer, server: &Server) -> Option<Value> {
    let needs_files = match answer {
        BootAnswer::NotReady { .. } => true,
        BootAnswer::Agent { .. }
        | BootAnswer::Environment { .. }
        | BootAnswer::BootFromDisk { .. }
        | BootAnswer::NotFound
        | BootAnswer::Unavailable => false,
    };
    let noted = server.metadata.labels.as_ref().and_then(|labels| labels.get(ARCH_LABEL));
    let news = needs_files && arch == Arch::Arm64 && noted.is_none_or(|noted| noted != arch.as_str());
    // The uid makes it a conflict on an object that was made anew meanwhile.
    news.then(
        || json!({ "metadata": { "uid": server.metadata.uid, "labels": { ARCH_LABEL: arch.as_str() } } }),
    )
}

/// Notes it, unless it is known. What fails is tried again with the machine's next question.
pub async fn note(kubernetes: &Kubernetes, arch: Arch, answer: &BootAnswer, server: &Server) {
    let (Some(change), Some(client)) = (change(arch, answer, server), kubernetes.client()) else { return };
    let name = server.metadata.name.as_deref().unwrap_or_default();
    let servers: Api<Server> = Api::all(client);
    let (params, patch) = (PatchParams::default(), Patch::Merge(change));
    match tokio::time::timeout(ANSWER_WITHIN, servers.patch(name, &params, &patch)).await {
        Ok(Ok(_)) => tracing::info!(server = name, arch = arch.as_str(), "architecture noted"),
        Ok(Err(error)) => {
            tracing::warn!(server = name, error = bloomery_base::chain(&error), "architecture not noted");
        }
        Err(_) => tracing::warn!(server = name, "architecture not noted: no answer"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bloomery_api::ServerSpec;

    #[test]
    fn only_an_arm64_machine_that_waits_for_files_is_news() {
        let waits = BootAnswer::NotReady { name: "default-arm64".to_owned() };
        let boots = BootAnswer::Environment { name: "default-arm64".to_owned() };
        let unknown = Server::new("u", ServerSpec::default());
        let mut known = unknown.clone();
        known.metadata.labels = Some([(ARCH_LABEL.to_owned(), "arm64".to_owned())].into());
        for (arch, answer, server, news) in [
            (Arch::Arm64, &waits, &unknown, true),
            (Arch::Arm64, &waits, &known, false),
            (Arch::Arm64, &boots, &unknown, false),
            (Arch::Amd64, &waits, &unknown, false),
        ] {
            assert_eq!(change(arch, answer, server).is_some(), news, "{arch:?} {answer:?}");
        }
    }
}
