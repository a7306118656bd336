//! The identities on the Kubernetes API: DESIGN.md §1, "Identities".

use crate::accounts::{self, User};
use time::Duration;

/// Certificates are made at every boot and again at half their life, so this is no limit to a plane's run.
pub const LIFETIME: Duration = Duration::days(365);
/// What may do everything holds for a day only.
pub const SHORT_LIFETIME: Duration = Duration::days(1);

/// A process with a kubeconfig.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// The service that gets it.
    pub service: &'static str,
    pub user: &'static str,
    pub groups: &'static [&'static str],
    pub account: User,
    pub lifetime: Duration,
}

/// All processes that speak to the Kubernetes API.
pub const CLIENTS: [Client; 6] = [
    Client {
        service: "apply",
        user: "bloomery:apply",
        groups: &["system:masters"],
        account: accounts::APPLY,
        lifetime: SHORT_LIFETIME,
    },
    Client {
        service: "kube-controller-manager",
        user: "system:kube-controller-manager",
        groups: &[],
        account: accounts::KCM,
        lifetime: LIFETIME,
    },
    Client {
        service: "cluster-api",
        user: "bloomery:cluster-api",
        groups: &[],
        account: accounts::CAPI,
        lifetime: LIFETIME,
    },
    Client {
        service: "controllers",
        user: "bloomery:controllers",
        groups: &[],
        account: accounts::CONTROLLERS,
        lifetime: LIFETIME,
    },
    Client {
        service: "bootsvc",
        user: "bloomery:bootsvc",
        groups: &[],
        account: accounts::BOOTSVC,
        lifetime: LIFETIME,
    },
    Client {
        service: "siderolink",
        user: "bloomery:siderolink",
        groups: &[],
        account: accounts::SIDEROLINK,
        lifetime: LIFETIME,
    },
];
