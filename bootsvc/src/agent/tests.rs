//! The agent's calls over gRPC, with the Kubernetes API of `fake_api` behind the service.

mod calls;
mod mapping;
