//! One transfer over HTTP into a part file: begun, or continued where the last one broke.
//!
//! Never continues another file than it began: the server has to know the validator, or the content has to
//! be checked by its SHA-512 in the end.

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use url::Url;

use super::http::{self as client, Get};
use super::partial::Partial;
use super::{Error, Limits, Progress, Trust, sniff};

/// What a transfer goes by.
pub(super) struct Transfer<'a> {
    pub(super) trust: &'a Trust,
    pub(super) limits: &'a Limits,
    pub(super) url: &'a Url,
    /// True when a SHA-512 is given.
    pub(super) is_checked: bool,
    pub(super) progress: &'a Progress,
}

impl Transfer<'_> {
    /// Brings the part to its end. What came before an error stays for the next try.
    pub(super) async fn run(&self, partial: &mut Partial) -> Result<(), Error> {
        let validator = partial.notes.validator.clone();
        let resumable = partial.written() > 0 && (validator.is_some() || self.is_checked);
        let resume = resumable.then(|| (partial.written(), validator.as_deref()));
        let get = Get { url: self.url, resume, is_checked: self.is_checked, idle: self.limits.idle };
        let answer = client::get(self.trust, &get).await?;
        let (head, body) = answer.response.into_parts();
        if head.headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return Err(self.refused("it is compressed on the way"));
        }
        match head.status {
            StatusCode::PARTIAL_CONTENT if resumable => self.accept_rest(partial, &head.headers).await?,
            StatusCode::RANGE_NOT_SATISFIABLE if resumable => {
                if partial.notes.total == Some(partial.written()) {
                    return Ok(());
                }
                partial.restart(None, None).await?;
                return Err(self.refused("the file has become shorter; it is begun anew"));
            }
            // A part that nobody asked for is no file.
            StatusCode::PARTIAL_CONTENT => return Err(self.refused("it is a part of the file only")),
            status if status.is_success() => {
                self.refuse_texts(&head.headers)?;
                partial.restart(validator_of(&head.headers), length_of(&head.headers)).await?;
            }
            status => return Err(Error::Status { url: answer.url.to_string(), status }),
        }
        self.check_size(partial)?;
        let received = self.receive(partial, body).await;
        // Also after an error: it is what the next try goes on with.
        let synced = partial.sync().await;
        received.and(synced)?;
        self.check_end(partial)
    }

    fn refused(&self, problem: &'static str) -> Error {
        Error::Answer { url: self.url.to_string(), problem }
    }

    /// A page is not even fetched, unless a SHA-512 says that it is what is wanted.
    fn refuse_texts(&self, headers: &HeaderMap) -> Result<(), Error> {
        let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        match media_type.and_then(sniff::text_by_media_type) {
            Some(problem) if !self.is_checked => {
                Err(Error::NotAnAsset { url: self.url.to_string(), problem })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// A rest must begin where the part ends, and be of a whole of the same length.
    async fn accept_rest(&self, partial: &mut Partial, headers: &HeaderMap) -> Result<(), Error> {
        let range = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).and_then(content_range);
        let fits = range.is_some_and(|(start, total)| {
            start == partial.written()
                && (total.is_none() || partial.notes.total.is_none() || total == partial.notes.total)
        });
        if !fits {
            partial.restart(None, None).await?;
            return Err(self.refused("it is not the rest that was asked for; it is begun anew"));
        }
        partial.notes.total = partial.notes.total.or(range.and_then(|(_, total)| total));
        Ok(())
    }

    fn check_size(&self, partial: &Partial) -> Result<(), Error> {
        let total = partial.notes.total.unwrap_or_default();
        self.progress.set(partial.written(), partial.notes.total);
        self.limits.check(self.url, partial.path(), total, partial.written())
    }

    async fn receive(&self, partial: &mut Partial, mut body: Incoming) -> Result<(), Error> {
        let idle = self.limits.idle;
        loop {
            let frame = tokio::time::timeout(idle, body.frame())
                .await
                .map_err(|_| Error::Idle { url: self.url.to_string(), limit: idle })?;
            let Some(frame) = frame else { return Ok(()) };
            let frame = frame.map_err(|source| Error::Exchange { url: self.url.to_string(), source })?;
            let Ok(data) = frame.into_data() else { continue };
            if partial.written() + data.len() as u64 > self.limits.largest {
                return Err(Error::TooLarge { url: self.url.to_string(), limit: self.limits.largest });
            }
            partial.append(&data).await?;
            self.progress.set(partial.written(), partial.notes.total);
        }
    }

    fn check_end(&self, partial: &Partial) -> Result<(), Error> {
        match partial.notes.total {
            _ if partial.written() == 0 => Err(self.refused("it is empty")),
            Some(total) if total != partial.written() => {
                Err(self.refused("its length is not the one that was announced"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// The first byte of a rest, and the length of the whole.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    Some((start.parse().ok()?, total))
}

/// A strong ETag, or else the time of the last change.
fn validator_of(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    text(ETAG).filter(|tag| !tag.starts_with("W/")).or_else(|| text(LAST_MODIFIED)).map(str::to_owned)
}

fn length_of(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_are_read_strictly() {
        for (text, expected) in [
            ("bytes 5-9/10", Some((5, Some(10)))),
            ("bytes 0-0/*", Some((0, None))),
            ("bytes */10", None),
            ("bytes 5-9", None),
            ("bytes a-9/10", None),
            ("bytes 5-9/x", None),
            ("items 5-9/10", None),
            ("", None),
        ] {
            assert_eq!(content_range(text), expected, "{text}");
        }
    }

    #[test]
    fn only_a_strong_tag_or_a_time_lets_a_transfer_go_on() {
        let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
        };
        let time = "Tue, 28 Apr 2026 10:00:00 GMT";
        assert_eq!(validator_of(&headers(&[("etag", "\"a\""), ("last-modified", time)])).unwrap(), "\"a\"");
        assert_eq!(validator_of(&headers(&[("etag", "W/\"a\""), ("last-modified", time)])).unwrap(), time);
        assert_eq!(validator_of(&headers(&[("etag", "W/\"a\"")])), None);
        assert_eq!(length_of(&headers(&[("content-length", "12")])), Some(12));
        assert_eq!(length_of(&headers(&[("content-length", "-1")])), None);
    }

    proptest! {
        #[test]
        fn no_header_crashes(text in ".{0,40}") {
            let _ = content_range(&text);
        }
    }
}
