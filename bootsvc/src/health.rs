//! What runs and what does not, for `/readyz`.

pub mod serve;

pub use bloomery_platform::health::{Health, Part, State, Weight};
