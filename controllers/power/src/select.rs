//! Which power control a machine gets (spec/sidero.md §6).
//!
//! Pure; never resolves a secret and never touches a network.

use secrecy::{ExposeSecret, SecretString};

use crate::endpoint::SelectError;
use crate::identity::Identity;
use crate::web::CertificatePin;

/// A machine and what is known about its power control.
#[derive(Debug, Clone)]
pub struct Target {
    /// Whose the BMC has to be.
    pub identity: Identity,
    /// Its BMC.
    pub bmc: Option<BmcTarget>,
    /// `host:port` of the HTTP API that controls it.
    pub management_api: Option<String>,
}

/// A BMC and how to log in.
#[derive(Debug, Clone)]
pub struct BmcTarget {
    /// Host, `host:port`, or URL of a Redfish service.
    pub endpoint: String,
    /// Port, [`crate::DEFAULT_PORT`] where none was given.
    pub port: u16,
    /// User name, resolved; empty if there is none.
    pub user: SecretString,
    /// Password, resolved; empty if there is none.
    pub pass: SecretString,
    /// `spec.bmc.interface` as given.
    pub interface: String,
    /// The key of its certificate, if it was seen before.
    pub pinned: Option<CertificatePin>,
}

/// The version of IPMI over LAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lan {
    /// RMCP+ of IPMI 2.0 (`lanplus`).
    RmcpPlus,
    /// IPMI 1.5 (`lan`).
    V15,
}

/// What was selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection<'a> {
    /// Nobody controls the power.
    Fake,
    /// The HTTP API at this endpoint.
    Api(&'a str),
    /// Redfish where it answers, else RMCP+.
    Probe,
    /// IPMI.
    Ipmi(Lan),
    /// Redfish only.
    Redfish,
}

/// Selects the power control of a machine.
pub fn select(target: &Target) -> Result<Selection<'_>, SelectError> {
    let Some(bmc) = &target.bmc else {
        let api = target.management_api.as_deref().filter(|endpoint| !endpoint.is_empty());
        return Ok(api.map_or(Selection::Fake, Selection::Api));
    };
    if bmc.user.expose_secret().is_empty() || bmc.pass.expose_secret().is_empty() {
        return Ok(Selection::Fake);
    }
    match bmc.interface.as_str() {
        "" => Ok(Selection::Probe),
        "lanplus" => Ok(Selection::Ipmi(Lan::RmcpPlus)),
        "lan" => Ok(Selection::Ipmi(Lan::V15)),
        "redfish" => Ok(Selection::Redfish),
        "open" => Err(SelectError::Open),
        interface => Err(SelectError::Interface { interface: interface.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bmc(user: &str, pass: &str, interface: &str) -> BmcTarget {
        BmcTarget {
            endpoint: "192.0.2.1".to_owned(),
            port: crate::DEFAULT_PORT,
            user: user.into(),
            pass: pass.into(),
            interface: interface.to_owned(),
            pinned: None,
        }
    }

    fn target(bmc: Option<BmcTarget>, api: Option<&str>) -> Target {
        Target { identity: Identity::of("s"), bmc, management_api: api.map(str::to_owned) }
    }

    #[test]
    fn selects_by_the_table_of_the_specification() {
        let table = [
            (None, None, Ok(Selection::Fake)),
            (None, Some(""), Ok(Selection::Fake)),
            (None, Some("192.0.2.9:4000"), Ok(Selection::Api("192.0.2.9:4000"))),
            (Some(("u", "p", "")), Some("192.0.2.9:4000"), Ok(Selection::Probe)),
            (Some(("u", "p", "lanplus")), None, Ok(Selection::Ipmi(Lan::RmcpPlus))),
            (Some(("u", "p", "lan")), None, Ok(Selection::Ipmi(Lan::V15))),
            (Some(("u", "p", "redfish")), None, Ok(Selection::Redfish)),
            // Without both credentials nobody may be asked, not even the HTTP API.
            (Some(("", "p", "lanplus")), Some("192.0.2.9:4000"), Ok(Selection::Fake)),
            (Some(("u", "", "nonsense")), None, Ok(Selection::Fake)),
            (Some(("u", "p", "open")), None, Err(SelectError::Open)),
            (Some(("u", "p", "LAN")), None, Err(SelectError::Interface { interface: "LAN".to_owned() })),
        ];
        for (number, (given, api, expected)) in table.into_iter().enumerate() {
            let target = target(given.map(|(user, pass, interface)| bmc(user, pass, interface)), api);
            assert_eq!(select(&target), expected, "row {number}");
        }
    }

    #[test]
    fn an_unknown_interface_is_named_as_upstream_names_it() {
        let target = target(Some(bmc("u", "p", "serial")), None);
        assert_eq!(select(&target).unwrap_err().to_string(), "unsupported interface: serial");
    }

    #[test]
    fn debug_output_shows_no_credentials() {
        let text = format!("{:?}", target(Some(bmc("root-user", "hunter2", "")), None));
        assert!(!text.contains("hunter2") && !text.contains("root-user"), "{text}");
    }
}
