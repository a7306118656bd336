//! "Omitted when zero": the rule by which these kinds have always been serialised.
//!
//! Never used on a field that the schema requires.

/// True for a value that is left out of the JSON form.
pub(crate) fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Structs in the manner of the wire, each field of which is left out when it is zero.
macro_rules! left_out_when_zero {
    ($($(#[$about:meta])* pub struct $name:ident {
        $($(#[$of_field:meta])* pub $field:ident: $type:ty,)+
    })+) => {$(
        $(#[$about])*
        #[derive(
            Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
        )]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            $(
                $(#[$of_field])*
                #[serde(default, skip_serializing_if = "crate::zero::is_zero")]
                pub $field: $type,
            )+
        }
    )+};
}
pub(crate) use left_out_when_zero;
