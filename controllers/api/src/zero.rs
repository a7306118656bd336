//! "Omitted when zero": the rule by which these kinds have always been serialised.
//!
//! Never used on a field that the schema requires.

/// True for a value that is left out of the JSON form.
pub(crate) fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
