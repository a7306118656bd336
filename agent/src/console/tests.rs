//! Texts as a person sees them.
