//! The API server's audit log: which identity wrote what and when, without what was written.
//!
//! It must never hold the body of a request: Secrets pass through there.

/// MB of one file.
pub const MAX_SIZE: u32 = 8;
/// Files beside the one that is written to.
pub const MAX_BACKUPS: u32 = 2;

/// Writes of people and programs; not what beats all the time (leases, events) and not questions about rights.
pub const POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- level: None
  verbs: [get, list, watch]
- level: None
  resources:
  - group: coordination.k8s.io
    resources: [leases]
  - group: ''
    resources: [events]
  - group: events.k8s.io
    resources: [events]
  - group: authentication.k8s.io
  - group: authorization.k8s.io
- level: Metadata
";
