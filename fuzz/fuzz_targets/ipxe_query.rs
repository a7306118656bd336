//! The query of `/ipxe`, a path, a Host header and a Range.
#![no_main]

use std::time::UNIX_EPOCH;

use bootsvc::http::download::plan::{Wanted, plan};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = bootsvc::http::query::Query::parse(text);
    let _ = bootsvc::http::route::route(text);
    if let Some(path) = bootsvc::http::download::decode(text) {
        assert!(!path.split('/').any(|part| part == ".."), "a path climbs");
    }
    let _ = bootsvc::advertise::Endpoint::parse(text, 8081);
    let part = plan(Wanted { range: Some(text), ..Wanted::default() }, 1000, UNIX_EPOCH);
    assert!(part.start + part.len <= 1000);
});
