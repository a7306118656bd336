//! What every program of the product needs and the standard library lacks: errors on one line, files replaced whole.
//!
//! It depends on nothing, and knows nothing of machines, planes or Kubernetes.

mod errors;
mod replace;

pub use errors::{chain, chain_by};
pub use replace::Replace;
