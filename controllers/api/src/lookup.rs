//! What looking for an object led to: it is not the same not to find it and not to be able to tell.

use std::ops::Deref;

/// Result of looking for an object.
#[derive(Clone, Copy, Debug)]
pub enum Lookup<T> {
    /// It is there.
    Found(T),
    /// It is known not to be there.
    NotFound,
    /// Nobody could tell.
    Failed,
}

impl<T> Lookup<T> {
    /// The same of a reference.
    pub const fn as_ref(&self) -> Lookup<&T> {
        match self {
            Self::Found(object) => Lookup::Found(object),
            Self::NotFound => Lookup::NotFound,
            Self::Failed => Lookup::Failed,
        }
    }

    /// The same of what an `Arc` or a `Box` points to.
    pub fn as_deref(&self) -> Lookup<&T::Target>
    where
        T: Deref,
    {
        match self {
            Self::Found(object) => Lookup::Found(object),
            Self::NotFound => Lookup::NotFound,
            Self::Failed => Lookup::Failed,
        }
    }

    /// The same of what `change` makes of it.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Lookup<U> {
        match self {
            Self::Found(object) => Lookup::Found(change(object)),
            Self::NotFound => Lookup::NotFound,
            Self::Failed => Lookup::Failed,
        }
    }

    /// The object, where it was found.
    pub fn found(self) -> Option<T> {
        match self {
            Self::Found(object) => Some(object),
            Self::NotFound | Self::Failed => None,
        }
    }
}

impl<T> From<Option<T>> for Lookup<T> {
    fn from(found: Option<T>) -> Self {
        found.map_or(Self::NotFound, Self::Found)
    }
}
