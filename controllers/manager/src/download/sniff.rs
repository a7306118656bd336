//! Tells pages from kernels: portals and error pages come with status 200, too.
//!
//! Only what is surely none is told apart: kernels and archives begin with octets of their own, none with `<` or `{`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Octets looked at: pages begin with some white space at most.
const HEAD: u64 = 512;
const MARKUP: &str = "it is an HTML or XML page";
const JSON: &str = "it is a JSON text";

/// What a `Content-Type` says the content is, if that is no asset.
pub(super) fn text_by_media_type(media_type: &str) -> Option<&'static str> {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "text/html" | "application/xhtml+xml" | "text/xml" | "application/xml" => Some(MARKUP),
        "application/json" | "application/problem+json" => Some(JSON),
        _ => None,
    }
}

/// What the beginning of a file says it is, if that is no asset.
pub(super) fn text_in(path: &Path) -> std::io::Result<Option<&'static str>> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD).read_to_end(&mut head)?;
    Ok(text_by_head(&head))
}

fn text_by_head(head: &[u8]) -> Option<&'static str> {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    match head.first() {
        Some(b'<') => Some(MARKUP),
        Some(b'{') => Some(JSON),
        Some(_) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_told_from_kernels_and_archives() {
        for (head, text) in [
            (&b"<!doctype html><title>Log in</title>"[..], Some(MARKUP)),
            (b"\r\n\t <HTML>", Some(MARKUP)),
            (b"\xef\xbb\xbf<?xml version=\"1.0\"?><Error/>", Some(MARKUP)),
            (b"{\"message\":\"not found\"}", Some(JSON)),
            (b"MZ\xea\x07\x00\xc0\x07", None),
            (b"MZ\x00\x00zimg", None),
            (b"\x1f\x8b\x08", None),
            (b"\xfd7zXZ\x00", None),
            (b"\x28\xb5\x2f\xfd", None),
            (b"070701", None),
            (b"\x7fELF", None),
            (b"", None),
            (b"   ", None),
        ] {
            assert_eq!(text_by_head(head), text, "{head:?}");
        }
        for (media_type, text) in [
            ("text/html; charset=utf-8", Some(MARKUP)),
            ("TEXT/HTML", Some(MARKUP)),
            ("application/problem+json", Some(JSON)),
            ("application/octet-stream", None),
            ("text/plain", None),
            ("application/x-xz", None),
            ("", None),
        ] {
            assert_eq!(text_by_media_type(media_type), text, "{media_type}");
        }
    }
}
