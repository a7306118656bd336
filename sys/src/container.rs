//! Whether this PID 1 owns the machine or runs in a container.
//!
//! In a container PID 1 touches nothing of the host: no modules, no devices, no clock, no reboot.

use std::ffi::OsStr;

/// The variable with which container managers tell PID 1 what it runs in (systemd's container interface).
const VARIABLE: &str = "container";

/// The name of the container manager, if there is one: a non-empty `container` in the environment.
///
/// The kernel never sets this variable unless its command line holds `container=…`, so a real boot has none.
pub fn detect() -> Option<String> {
    from_variable(std::env::var_os(VARIABLE).as_deref())
}

fn from_variable(value: Option<&OsStr>) -> Option<String> {
    value.filter(|value| !value.is_empty()).map(|value| value.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_is_no_container() {
        assert_eq!(from_variable(None), None);
        assert_eq!(from_variable(Some(OsStr::new(""))), None);
        assert_eq!(from_variable(Some(OsStr::new("lab"))).as_deref(), Some("lab"));
    }
}
