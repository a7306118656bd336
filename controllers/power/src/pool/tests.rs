//! The pool with drivers of which each test decides what they do, and a clock that tests turn.

mod fallback;
mod pace;
mod precondition;
mod support;
