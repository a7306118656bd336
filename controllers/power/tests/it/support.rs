//! Management controllers in software, and bad networks.

pub(crate) mod ipmi_sim;
pub(crate) mod mock;
pub(crate) mod proxy;
pub(crate) mod pyghmi;
pub(crate) mod sushy;
