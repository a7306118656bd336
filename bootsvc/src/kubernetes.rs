//! The connection to the Kubernetes API: made when it can be, watched, never waited for by a service.

use std::path::PathBuf;
use std::time::Duration;

pub use bloomery_platform::client::Kubernetes;
use bloomery_platform::client::Limits;
use tokio_util::sync::CancellationToken;

use crate::health::Part;

/// Longest wait for one answer; iPXE gives a server about twenty seconds before it goes on.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Requests at once, of the 60 that the API server takes. Calls have turns of their own; what is not urgent are events.
const LIMITS: Limits = Limits { urgent: 24, background: 4, answer_within: ANSWER_WITHIN };

/// Makes the client from `kubeconfig` (none: the pod's service account), and reports in `part` whether the API answers.
pub fn connect(kubeconfig: Option<PathBuf>, part: Part, shutdown: CancellationToken) -> Kubernetes {
    Kubernetes::connect(kubeconfig.into(), LIMITS, part, shutdown)
}
