//! The program under test and the nodes that call it.

pub(crate) mod node;
pub(crate) mod site;
