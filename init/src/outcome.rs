//! What a phase of boot or shutdown comes to: what it found, or an error and perhaps something to go on with.

use std::error::Error;

pub type Outcome<T = ()> = Result<T, Shortfall<T>>;

#[derive(Debug)]
pub struct Shortfall<T> {
    pub error: Box<dyn Error + Send + Sync>,
    /// What the next phases go on with all the same.
    pub found: Option<T>,
}

impl<T> Shortfall<T> {
    /// Failed, and still found this.
    pub fn with(error: impl Error + Send + Sync + 'static, found: T) -> Self {
        Self { error: error.into(), found: Some(found) }
    }
}

impl<T, E: Error + Send + Sync + 'static> From<E> for Shortfall<T> {
    fn from(error: E) -> Self {
        Self { error: error.into(), found: None }
    }
}
