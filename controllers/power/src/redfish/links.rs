//! Links of a Redfish service, which have to stay on it.
//!
//! Pure; never gives a path that leads to another host.

use super::error::ParseError;
use crate::endpoint::{Origin, parse_endpoint};

/// Longest path taken from a BMC.
const MAX_PATH: usize = 512;

/// The path that `link` leads to: a path of the service, or a URL with the host of `origin`.
pub(super) fn path(link: &str, origin: &Origin, property: &'static str) -> Result<String, ParseError> {
    let outside = || ParseError::Path { property };
    let path = match link.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find('/').ok_or_else(outside)?;
            let (host, path) = rest.split_at_checked(end).ok_or_else(outside)?;
            let url = parse_endpoint(&format!("{}://{host}", scheme.to_ascii_lowercase()));
            let url = url.ok().and_then(|endpoint| endpoint.url).ok_or_else(outside)?;
            // A service behind a proxy of its own gives its inner scheme, and then that scheme's port.
            let is_default = url.port == url.scheme.port();
            if !url.host.eq_ignore_ascii_case(&origin.host) || (url.port != origin.port && !is_default) {
                return Err(outside());
            }
            path
        }
        None => link,
    };
    let plain = path.bytes().all(|byte| byte.is_ascii_graphic());
    if plain && path.len() <= MAX_PATH && path.starts_with('/') && !path.starts_with("//") {
        // A fragment names a part of the resource.
        Ok(path.split('#').next().unwrap_or_default().to_owned())
    } else {
        Err(outside())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Scheme;

    #[test]
    fn stays_on_the_service() {
        let at = |host: &str, port| Origin { scheme: Scheme::Https, host: host.to_owned(), port };
        let table: [(&str, Origin, Option<&str>); 20] = [
            ("/redfish/v1/Systems", at("bmc", 443), Some("/redfish/v1/Systems")),
            ("/redfish/v1/Systems#/Members/0", at("bmc", 443), Some("/redfish/v1/Systems")),
            ("https://bmc/redfish/v1/", at("bmc", 443), Some("/redfish/v1/")),
            ("HTTPS://BMC/redfish/v1/", at("bmc", 443), Some("/redfish/v1/")),
            ("https://bmc:8443/redfish/v1/", at("bmc", 8443), Some("/redfish/v1/")),
            ("http://bmc/redfish/v1/", at("bmc", 443), Some("/redfish/v1/")),
            ("https://bmc/redfish/v1/", at("bmc", 8443), Some("/redfish/v1/")),
            ("https://[2001:db8::1]/x", at("2001:db8::1", 443), Some("/x")),
            ("https://bmc:8444/redfish/v1/", at("bmc", 8443), None),
            ("https://evil/redfish/v1/", at("bmc", 443), None),
            ("https://bmc.evil/redfish/v1/", at("bmc", 443), None),
            ("https://bmc@evil/redfish/v1/", at("bmc", 443), None),
            ("https://bmc", at("bmc", 443), None),
            ("https://bmc//evil/x", at("bmc", 443), None),
            ("ftp://bmc/x", at("bmc", 443), None),
            ("//evil/x", at("bmc", 443), None),
            ("redfish/v1/Systems", at("bmc", 443), None),
            ("", at("bmc", 443), None),
            ("/a b", at("bmc", 443), None),
            ("/ä", at("bmc", 443), None),
        ];
        for (link, origin, expected) in table {
            assert_eq!(path(link, &origin, "x").ok().as_deref(), expected, "{link}");
        }
    }
}
