//! Against Talos's own library: what it gives, beside what the real programs gave.

mod access;
mod generation;
mod hostile;
mod patches;
mod provider;
mod validation;
