//! `controllers apply`: puts CRDs, rights and webhook configurations in place, then ends.

use super::Inputs;
use crate::accounts;
use crate::supervise::limits::{Limits, MemoryLimit};
use crate::supervise::service::{Hold, Service};

/// Short-lived; it is started again.
const LIMITS: Limits = Limits::new(MemoryLimit { percent: 20, floor_mib: 192 }, 700);

pub(super) fn service(inputs: &Inputs) -> Service {
    let mut service = Service::one_shot("apply", inputs.layout.program("controllers"));
    service.user = inputs.accounts.user(accounts::APPLY);
    service.limits = LIMITS;
    service.hold = Hold::Refused("it runs once and has ended; a restart runs it again");
    service.after = &["kube-apiserver"];
    service.args = vec![
        "apply".to_owned(),
        "--kubeconfig".to_owned(),
        inputs.file("apply", "kubeconfig"),
        "--manifests".to_owned(),
        inputs.layout.manifests().display().to_string(),
        "--ca".to_owned(),
        inputs.file("apply", "ca.crt"),
    ];
    // Secrets that were stored before there was a key are written again, once.
    service.args.extend(inputs.encryption_key.as_ref().map(|key| format!("--encryption-key={key}")));
    service
}
