//! Notes on a Server that its machine is a 64-bit ARM one, when it asks for an Environment that is not here: the
//! controllers fetch some only then.
//!
//! Never keeps the answer from the machine, which asks again; nothing about amd64 is noted.

use bloomery_api::Server;
use bloomery_api::arch::Arch;
use bloomery_api::decision::boot::BootAnswer;
use bloomery_api::server::ARCH_LABEL;
use serde_json::json;

use crate::kubernetes::Kubernetes;
use crate::writes;

/// Whether there is something to note.
fn is_news(arch: Arch, answer: &BootAnswer, server: &Server) -> bool {
    let needs_files = match answer {
        BootAnswer::NotReady { .. } => true,
        BootAnswer::Agent { .. }
        | BootAnswer::Environment { .. }
        | BootAnswer::BootFromDisk { .. }
        | BootAnswer::NotFound
        | BootAnswer::Unavailable => false,
    };
    let noted = server.metadata.labels.as_ref().and_then(|labels| labels.get(ARCH_LABEL));
    needs_files && arch == Arch::Arm64 && noted.is_none_or(|noted| noted != arch.as_str())
}

/// Notes it, unless it is known.
pub async fn note(kubernetes: &Kubernetes, arch: Arch, answer: &BootAnswer, server: &Server) {
    let metadata = json!({ "labels": { ARCH_LABEL: arch.as_str() } });
    if is_news(arch, answer, server)
        && let Some(noted) = writes::note(kubernetes, server, metadata, "architecture").await
    {
        tracing::info!(server = noted.metadata.name, arch = arch.as_str(), "architecture noted");
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
            assert_eq!(is_news(arch, answer, server), news, "{arch:?} {answer:?}");
        }
    }
}
