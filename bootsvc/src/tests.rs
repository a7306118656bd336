//! What the tests of several modules need.

pub(crate) mod fake_api;
