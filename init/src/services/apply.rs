//! `controllers apply`: puts CRDs, rights and webhook configurations in place, then ends.

use super::{Inputs, users};
use crate::supervise::service::Service;

pub(super) fn service(inputs: &Inputs) -> Service {
    let mut service = Service::one_shot("apply", inputs.layout.program("controllers"));
    service.user = inputs.accounts.user(users::APPLY);
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
    service
}
