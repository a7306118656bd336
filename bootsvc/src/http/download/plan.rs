//! What to answer to a request for a file: a pure function of the request and the file's state
//! (RFC 9110 sections 13 and 14).

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The request's headers that matter.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    pub range: Option<&'a str>,
    pub if_range: Option<&'a str>,
    pub if_none_match: Option<&'a str>,
    pub if_modified_since: Option<&'a str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// 200, 206, 304 or 416.
    pub status: u16,
    /// First octet to send.
    pub start: u64,
    /// Octets to send.
    pub len: u64,
    file_len: u64,
    etag: String,
    modified: String,
}

/// Decides the answer. Several ranges at once are answered with the whole file, as is a range that
/// cannot be read; both are allowed, and no firmware asks for them.
pub fn plan(wanted: Wanted<'_>, file_len: u64, modified: SystemTime) -> Plan {
    let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    let etag = format!("\"{file_len:x}-{:x}\"", since.as_nanos());
    let date = httpdate::fmt_http_date(modified);
    let whole = Plan { status: 200, start: 0, len: file_len, file_len, etag, modified: date };
    let unchanged = match wanted.if_none_match {
        Some(tags) => tags.split(',').any(|tag| {
            let tag = tag.trim();
            tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == whole.etag
        }),
        None => wanted.if_modified_since.is_some_and(|date| is_not_after(since, date)),
    };
    if unchanged {
        return Plan { status: 304, len: 0, ..whole };
    }
    let same = wanted.if_range.is_none_or(|mark| mark == whole.etag || mark == whole.modified);
    match wanted.range.filter(|_| same).map_or(Part::Whole, |range| parse_range(range, file_len)) {
        Part::Whole => whole,
        Part::Beyond => Plan { status: 416, len: 0, ..whole },
        Part::Of(start, len) => Plan { status: 206, start, len, ..whole },
    }
}

fn is_not_after(since: Duration, date: &str) -> bool {
    // Dates have whole seconds.
    httpdate::parse_http_date(date)
        .ok()
        .and_then(|date| date.duration_since(UNIX_EPOCH).ok())
        .is_some_and(|date| since.as_secs() <= date.as_secs())
}

/// What a range means for a file.
enum Part {
    /// There is none to be heeded.
    Whole,
    /// The file does not have it.
    Beyond,
    /// First octet and number of octets.
    Of(u64, u64),
}

fn parse_range(range: &str, len: u64) -> Part {
    match read_range(range, len) {
        None => Part::Whole,
        Some((start, count)) if start < len && count > 0 => Part::Of(start, count),
        Some(_) => Part::Beyond,
    }
}

/// First octet and number of octets, both perhaps beyond the file.
fn read_range(range: &str, len: u64) -> Option<(u64, u64)> {
    let (first, last) = range.trim().strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| -> Option<u64> {
        text.bytes().all(|octet| octet.is_ascii_digit()).then(|| text.parse().ok())?
    };
    if first.is_empty() {
        let count = number(last)?.min(len);
        return Some((len - count, count));
    }
    let start = number(first)?;
    let end = if last.is_empty() { u64::MAX } else { number(last)? };
    if end < start {
        return None;
    }
    let end = end.min(len.saturating_sub(1));
    Some((start, (end + 1).saturating_sub(start)))
}

impl Plan {
    /// The head of the answer as it goes out.
    pub fn head(&self, keep_alive: bool) -> String {
        let reason = match self.status {
            206 => "Partial Content",
            304 => "Not Modified",
            416 => "Range Not Satisfiable",
            _ => "OK",
        };
        let (status, etag, modified) = (self.status, &self.etag, &self.modified);
        let mut head = format!("HTTP/1.1 {status} {reason}\r\nETag: {etag}\r\nLast-Modified: {modified}\r\n");
        // Writing to a string cannot fail.
        let _ = match self.status {
            206 => {
                let end = self.start + self.len - 1;
                write!(head, "Content-Range: bytes {}-{end}/{}\r\n", self.start, self.file_len)
            }
            416 => write!(head, "Content-Range: bytes */{}\r\n", self.file_len),
            _ => Ok(()),
        };
        if self.status != 304 {
            let _ =
                write!(head, "Content-Type: application/octet-stream\r\nContent-Length: {}\r\n", self.len);
        }
        let date = httpdate::fmt_http_date(SystemTime::now());
        let connection = if keep_alive { "keep-alive" } else { "close" };
        let _ = write!(head, "Accept-Ranges: bytes\r\nDate: {date}\r\nConnection: {connection}\r\n\r\n");
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(wanted: Wanted<'_>) -> (u16, u64, u64) {
        let plan = plan(wanted, 1000, UNIX_EPOCH + Duration::from_millis(1_700_000_000_500));
        (plan.status, plan.start, plan.len)
    }

    #[test]
    fn ranges_are_heeded_when_they_make_sense() {
        for (range, expected) in [
            ("bytes=0-", (206, 0, 1000)),
            ("bytes=0-0", (206, 0, 1)),
            ("bytes=2-4", (206, 2, 3)),
            ("bytes=990-2000", (206, 990, 10)),
            ("bytes=-10", (206, 990, 10)),
            ("bytes=-5000", (206, 0, 1000)),
            ("bytes=1000-", (416, 0, 0)),
            ("bytes=-0", (416, 0, 0)),
            // Not to be heeded: reversed, several, other units, junk.
            ("bytes=4-2", (200, 0, 1000)),
            ("bytes=0-1,5-6", (200, 0, 1000)),
            ("lines=0-1", (200, 0, 1000)),
            ("bytes=+1-2", (200, 0, 1000)),
            ("bytes=99999999999999999999-", (200, 0, 1000)),
            ("bytes=", (200, 0, 1000)),
        ] {
            assert_eq!(answer(Wanted { range: Some(range), ..Wanted::default() }), expected, "{range}");
        }
    }

    #[test]
    fn what_the_client_has_is_not_sent_again() {
        let tag = plan(Wanted::default(), 1000, UNIX_EPOCH + Duration::from_millis(1_700_000_000_500)).etag;
        let date = "Tue, 14 Nov 2023 22:13:20 GMT";
        let none = Wanted::default();
        assert_eq!(answer(Wanted { if_none_match: Some(&tag), ..none }).0, 304);
        assert_eq!(
            answer(Wanted { if_none_match: Some("\"x\""), if_modified_since: Some(date), ..none }).0,
            200
        );
        assert_eq!(answer(Wanted { if_modified_since: Some(date), ..none }).0, 304);
        assert_eq!(
            answer(Wanted { if_modified_since: Some("Tue, 14 Nov 2023 22:13:19 GMT"), ..none }).0,
            200
        );
        let part = Wanted { range: Some("bytes=1-2"), ..none };
        assert_eq!(answer(Wanted { if_range: Some(&tag), ..part }).0, 206);
        assert_eq!(answer(Wanted { if_range: Some("\"old\""), ..part }), (200, 0, 1000));
    }

    #[test]
    fn an_empty_file_has_no_ranges() {
        let empty = plan(Wanted { range: Some("bytes=0-"), ..Wanted::default() }, 0, UNIX_EPOCH);
        assert_eq!((empty.status, empty.len), (416, 0));
    }

    proptest::proptest! {
        #[test]
        fn no_range_reaches_beyond_the_file(range in "bytes=[0-9]{0,20}-[0-9]{0,20}", len in 0u64..2000) {
            let plan = plan(Wanted { range: Some(&range), ..Wanted::default() }, len, UNIX_EPOCH);
            assert!(plan.start + plan.len <= len);
            let _ = plan.head(true);
        }
    }
}
