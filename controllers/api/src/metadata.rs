//! The configuration of a bound machine: from its objects to an ordered list of patches, what is kept of the result,
//! whether the machine may be switched on with it, and which client may have it.
//!
//! Stages and their texts are those of spec/sidero.md §4. Never merges or judges a configuration: Talos's own library
//! does.

pub mod delivery;
pub mod failure;
pub mod label;
pub mod patches;
pub mod rendered;
pub mod sources;
pub mod verdict;
