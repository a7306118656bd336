//! The query of `/ipxe`, a path, a Host header and a Range.
use std::time::UNIX_EPOCH;

use bootsvc::http::download::plan::{Wanted, plan};

/// One input; what is no text is none.
pub fn run(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    let _ = bootsvc::http::query::Query::parse(text);
    let _ = bootsvc::http::route::route(text);
    if let Some(path) = bootsvc::http::download::decode(text) {
        assert!(!path.split('/').any(|part| part == ".."), "a path climbs");
    }
    let _ = bootsvc::advertise::Endpoint::parse(text, 8081);
    let part = plan(Wanted { range: Some(text), ..Wanted::default() }, 1000, UNIX_EPOCH);
    assert!(part.start + part.len <= 1000);
}
