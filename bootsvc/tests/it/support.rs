//! The services under test and the machines that call them.

pub(crate) mod alone;
pub(crate) mod namespace;
pub(crate) mod process;
pub(crate) mod services;
pub(crate) mod wire;
