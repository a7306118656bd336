//! Networks of a test's own.

pub(crate) use bloomery_testkit::namespace::{Network, inside, ip, limit, until};
