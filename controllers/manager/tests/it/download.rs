//! Downloads from servers that break off, lie, send elsewhere, or send something else.

use std::path::PathBuf;
use std::time::Duration;

use crate::support::site::{Asked, Reply, Site};
use bloomery_controllers::download::place::Place;
use bloomery_controllers::download::source::Source;
use bloomery_controllers::download::{Error, Fetcher, Job, Limits, Placed, Progress, Trust, digest_of};
use sha2::{Digest, Sha512};
use tokio_util::sync::CancellationToken;

const TAG: &str = "\"one\"";

/// A directory for files, and where they come from.
struct Bench {
    root: tempfile::TempDir,
    limits: Limits,
    trust: Trust,
}

impl Bench {
    fn new() -> Self {
        let limits = Limits { reserve: 0, idle: Duration::from_secs(10), ..Limits::default() };
        Self { root: tempfile::tempdir().unwrap(), limits, trust: Trust::default() }
    }

    fn place(&self, name: &str) -> Place {
        Place::new(&self.root.path().join("env"), name, "vmlinuz").unwrap()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.place(name).path()
    }

    fn assets(&self) -> PathBuf {
        self.root.path().join("assets")
    }

    fn job(&self, url: &str, sha512: &str) -> Job {
        let source = Source::parse(url, &self.assets()).unwrap();
        Job {
            text: url.to_owned(),
            source,
            sha512: sha512.to_owned(),
            place: self.place("e"),
            elsewhere: vec![self.place("f")],
        }
    }

    /// One try, as after a restart of the process.
    async fn try_once(&self, job: &Job) -> Result<Placed, Error> {
        let fetcher =
            Fetcher { trust: self.trust.clone(), limits: self.limits.clone(), assets: self.assets() };
        fetcher.fetch(job, &Progress::default(), &CancellationToken::new()).await
    }

    /// Nothing is in place and nothing is left that a later try could take for its own.
    fn assert_nothing_here(&self) {
        assert!(!self.file("e").exists());
    }
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|index| u8::try_from(index * 7 % 251).unwrap()).collect()
}

fn sha512(bytes: &[u8]) -> String {
    format!("{:x}", Sha512::digest(bytes))
}

#[tokio::test]
async fn goes_on_where_it_broke_off_also_after_a_restart() {
    let whole = content(300_000);
    let served = whole.clone();
    // Each answer breaks off 100 000 bytes before the end of what it should have sent, but for the last.
    let site = Site::start(move |asked| {
        let reply = Reply::file(asked, TAG, &served);
        if asked.before < 2 { reply.broken(100_000) } else { reply }
    })
    .await;
    let bench = Bench::new();
    let job = bench.job(&site.url("/k"), "");
    for _ in 0..2 {
        let error = bench.try_once(&job).await.unwrap_err();
        assert!(error.is_break(), "{error:?}");
        bench.assert_nothing_here();
    }
    let placed = bench.try_once(&job).await.unwrap();
    assert_eq!((placed.size, placed.sha512.as_str()), (300_000, sha512(&whole).as_str()));
    assert_eq!(std::fs::read(bench.file("e")).unwrap(), whole);
    let asked: Vec<_> = site.asked().iter().map(|asked| (asked.from, asked.if_range.clone())).collect();
    let known = Some(TAG.to_owned());
    assert_eq!(asked, [(None, None), (Some(200_000), known.clone()), (Some(200_000), known)]);
    let left: Vec<_> = std::fs::read_dir(bench.place("e").directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 3, "the file, its record, and what its URL gave: {left:?}");
}

#[tokio::test]
async fn begins_anew_when_the_file_has_changed_or_cannot_be_known_again() {
    let (old, new) = (content(50_000), vec![9; 40_000]);
    for tag in ["\"one\"", "W/\"weak\""] {
        let (first, second) = (old.clone(), new.clone());
        let site = Site::start(move |asked| {
            if asked.before == 0 {
                return Reply::file(asked, tag, &first).broken(10);
            }
            Reply::file(asked, "\"two\"", &second)
        })
        .await;
        let bench = Bench::new();
        let job = bench.job(&site.url("/k"), "");
        assert!(bench.try_once(&job).await.unwrap_err().is_break());
        assert_eq!(bench.try_once(&job).await.unwrap().sha512, sha512(&new), "{tag}");
        assert_eq!(site.asked()[1].from.is_some(), tag == "\"one\"", "{tag}");
    }
}

#[tokio::test]
async fn a_rest_of_something_else_is_not_added() {
    let whole = content(1000);
    for head in [
        "206 Partial Content\r\nContent-Range: bytes 5-999/1000\r\nContent-Length: 10",
        "206 Partial Content\r\nContent-Range: bytes 990-1999/2000\r\nContent-Length: 10",
        "206 Partial Content\r\nContent-Length: 10",
        "416 Range Not Satisfiable\r\nContent-Length: 0",
    ] {
        let served = whole.clone();
        let site = Site::start(move |asked| match asked.before {
            0 => Reply::file(asked, TAG, &served).broken(10),
            1 => Reply::raw(head, &[0; 10]),
            _ => Reply::file(asked, TAG, &served),
        })
        .await;
        let bench = Bench::new();
        let job = bench.job(&site.url("/k"), "");
        assert!(bench.try_once(&job).await.unwrap_err().is_break());
        let error = bench.try_once(&job).await.unwrap_err();
        assert!(matches!(error, Error::Answer { .. }), "{head}: {error}");
        assert_eq!(bench.try_once(&job).await.unwrap().sha512, sha512(&whole), "{head}");
        assert_eq!(site.asked()[2].from, None, "{head}");
    }
}

#[tokio::test]
async fn a_wrong_digest_leaves_nothing_and_what_was_there_before() {
    let whole = content(1000);
    let served = whole.clone();
    let site = Site::start(move |asked| Reply::file(asked, TAG, &served)).await;
    let bench = Bench::new();
    let wanted = "0".repeat(128);
    let error = bench.try_once(&bench.job(&site.url("/k"), &wanted)).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&sha512(&whole)) && text.contains(&wanted), "{text}");
    bench.assert_nothing_here();
    assert_eq!(std::fs::read_dir(bench.place("e").directory()).unwrap().count(), 0, "no part stays");

    bench.try_once(&bench.job(&site.url("/k"), &sha512(&whole).to_uppercase())).await.unwrap();
    bench.try_once(&bench.job(&site.url("/other"), &wanted)).await.unwrap_err();
    assert_eq!(std::fs::read(bench.file("e")).unwrap(), whole, "the old one serves until it is replaced");
}

#[tokio::test]
async fn lies_about_the_length_are_found_out() {
    let bench = Bench::new();
    let site = Site::start(|asked| match asked.path.as_str() {
        "/longer" => Reply::raw("200 OK\r\nContent-Length: 2000", &[1; 1000]),
        "/chunks" => Reply::raw("200 OK\r\nTransfer-Encoding: chunked", b"400\r\nabc"),
        "/empty" => Reply::raw("200 OK\r\nContent-Length: 0", b""),
        "/packed" => Reply::raw("200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3", b"abc"),
        "/part" => Reply::raw("206 Partial Content\r\nContent-Length: 3", b"abc"),
        "/nonsense" => Reply::raw("200 OK\r\nContent-Length: many", b"abc"),
        "/shorter" => Reply::raw("200 OK\r\nContent-Length: 500", &[1; 1000]),
        _ => Reply::raw("404 Not Found\r\nContent-Length: 3", b"abc"),
    })
    .await;
    for (path, category) in [
        ("/longer", "break"),
        ("/chunks", "break"),
        ("/nonsense", "break"),
        ("/empty", "protocol"),
        ("/packed", "protocol"),
        ("/part", "protocol"),
        ("/none", "status"),
    ] {
        let error = bench.try_once(&bench.job(&site.url(path), "")).await.unwrap_err();
        assert_eq!(error.category(), category, "{path}: {error:?}");
        bench.assert_nothing_here();
    }
    let error = bench.try_once(&bench.job(&site.url("/shorter"), &sha512(&[1; 1000]))).await.unwrap_err();
    assert_eq!(error.category(), "digest", "{error:?}");
    bench.assert_nothing_here();
}

#[tokio::test]
async fn redirects_are_followed_to_a_limit() {
    let to = |place: &str| Reply::raw(&format!("302 Found\r\nLocation: {place}\r\nContent-Length: 0"), b"");
    let site = Site::start(move |asked: &Asked| match asked.path.as_str() {
        "/release" => to("/latest?a=b"),
        "/latest?a=b" => to("download/k"),
        "/download/k" => Reply::file(asked, TAG, b"kernel"),
        "/loop" => to("/loop"),
        "/file" => to("file:///etc/shadow"),
        _ => Reply::raw("301 Moved Permanently\r\nContent-Length: 0", b""),
    })
    .await;
    let bench = Bench::new();
    assert_eq!(bench.try_once(&bench.job(&site.url("/release"), "")).await.unwrap().size, 6);
    for (path, text) in
        [("/loop", "more than 10"), ("/file", "neither http nor https"), ("/x", "does not say where")]
    {
        let error = bench.try_once(&bench.job(&site.url(path), "")).await.unwrap_err().to_string();
        assert!(error.contains(text), "{path}: {error}");
    }
}

/// A site that falls silent 1,000 bytes before the end of its first answer.
async fn silent_once(whole: &[u8]) -> Site {
    let served = whole.to_vec();
    Site::start(move |asked| {
        let reply = Reply::file(asked, TAG, &served);
        if asked.before == 0 { reply.broken(1000).silent() } else { reply }
    })
    .await
}

#[tokio::test]
async fn silence_ends_a_try_and_keeps_what_came() {
    let whole = content(5000);
    let site = silent_once(&whole).await;
    let mut bench = Bench::new();
    bench.limits.idle = Duration::from_millis(300);
    let job = bench.job(&site.url("/k"), "");
    let error = bench.try_once(&job).await.unwrap_err();
    assert!(matches!(error, Error::Idle { .. }) && error.is_break(), "{error:?}");
    bench.limits.idle = Duration::from_secs(10);
    assert_eq!(bench.try_once(&job).await.unwrap().sha512, sha512(&whole));
    assert_eq!(site.asked()[1].from, Some(4000));
}

#[tokio::test]
async fn a_try_that_nobody_wants_ends_at_once_and_leaves_a_whole_part() {
    let whole = content(5000);
    let site = silent_once(&whole).await;
    let bench = Bench::new();
    let job = bench.job(&site.url("/k"), "");
    let (stop, progress) = (CancellationToken::new(), Progress::default());
    let fetcher = Fetcher { trust: Trust::default(), limits: bench.limits.clone(), assets: bench.assets() };
    let received = async {
        while progress.get().0 < 4000 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let (result, ()) = tokio::join!(fetcher.fetch(&job, &progress, &stop), received);
    assert!(matches!(result.unwrap_err(), Error::Unwanted));
    assert_eq!(bench.try_once(&job).await.unwrap().sha512, sha512(&whole));
    assert_eq!(site.asked()[1].from, Some(4000));
}

#[tokio::test]
async fn a_try_that_takes_too_long_is_ended_and_continued() {
    let whole = content(5000);
    let site = silent_once(&whole).await;
    let mut bench = Bench::new();
    bench.limits.whole = Duration::from_millis(300);
    let job = bench.job(&site.url("/k"), "");
    let error = bench.try_once(&job).await.unwrap_err();
    assert!(matches!(error, Error::Slow { .. }) && error.is_break(), "{error:?}");
    bench.limits.whole = Duration::from_secs(10);
    assert_eq!(bench.try_once(&job).await.unwrap().sha512, sha512(&whole));
    assert_eq!(site.asked()[1].from, Some(4000));
}

#[tokio::test]
async fn too_large_and_too_little_room_are_said_before_and_while_it_comes() {
    let site = Site::start(|asked| match asked.path.as_str() {
        "/announced" => Reply::raw("200 OK\r\nContent-Length: 1000000000000", b"abc"),
        _ => {
            Reply::raw("200 OK\r\nTransfer-Encoding: chunked", b"8\r\n12345678\r\n8\r\n12345678\r\n0\r\n\r\n")
        }
    })
    .await;
    let mut bench = Bench::new();
    bench.limits.largest = 10;
    for path in ["/announced", "/chunks"] {
        let error = bench.try_once(&bench.job(&site.url(path), "")).await.unwrap_err();
        assert_eq!(error.category(), "size", "{path}: {error:?}");
    }
    bench.limits = Limits { reserve: u64::MAX / 2, ..Limits::default() };
    let error = bench.try_once(&bench.job(&site.url("/chunks"), "")).await.unwrap_err();
    assert_eq!(error.category(), "space");
    assert!(error.to_string().contains("kept for the plane itself"), "{error}");
    bench.assert_nothing_here();
}

#[tokio::test]
async fn tls_needs_an_authority_that_is_trusted() {
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(pair.signing_key.serialize_der().into());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.der().clone()], key)
        .unwrap();
    let site = Site::start_tls(tls, |asked| Reply::file(asked, TAG, b"kernel")).await;
    let mut bench = Bench::new();
    let ca = bench.root.path().join("ca.pem");
    bench.trust = Trust::new(Some(ca.clone()));
    let job = bench.job(&site.tls_url("/k"), "");
    let error = bench.try_once(&job).await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error:?}");
    std::fs::write(&ca, pair.cert.pem()).unwrap();
    assert_eq!(bench.try_once(&job).await.unwrap().size, 6);
}

#[tokio::test]
async fn assets_are_copied_and_the_same_file_is_fetched_once() {
    let bench = Bench::new();
    std::fs::create_dir(bench.assets()).unwrap();
    std::fs::write(bench.assets().join("k"), "kernel").unwrap();
    let url = format!("file://{}/k", bench.assets().display());
    let placed = bench.try_once(&bench.job(&url, "")).await.unwrap();
    assert_eq!((placed.size, placed.linked), (6, false));
    std::fs::remove_file(bench.assets().join("k")).unwrap();
    let error = bench.try_once(&Job { elsewhere: Vec::new(), ..bench.job(&url, "") }).await.unwrap_err();
    assert_eq!(error.category(), "file");

    let site = Site::start(|asked| Reply::file(asked, TAG, b"kernel")).await;
    let other =
        Job { place: bench.place("f"), elsewhere: vec![bench.place("e")], ..bench.job(&site.url("/k"), "") };
    assert!(!bench.try_once(&other).await.unwrap().linked);
    let job = bench.job(&site.url("/k"), "");
    assert!(bench.try_once(&job).await.unwrap().linked);
    assert_eq!(site.asked().len(), 1);
    assert_eq!(digest_of(&bench.file("e")).unwrap(), digest_of(&bench.file("f")).unwrap());
    // What is not what its record says is no source for another.
    std::fs::remove_file(bench.file("f")).unwrap();
    std::fs::write(bench.file("f"), "broken").unwrap();
    assert!(!bench.try_once(&job).await.unwrap().linked);
    assert_eq!(std::fs::read(bench.file("e")).unwrap(), b"kernel");
}

#[tokio::test]
async fn what_a_url_gave_first_is_what_it_must_give() {
    let (first, second) = (content(1000), content(2000));
    let (one, two) = (first.clone(), second.clone());
    let site = Site::start(move |asked| match asked.before {
        0 | 2 => Reply::file(asked, TAG, &one),
        _ => Reply::file(asked, "\"two\"", &two),
    })
    .await;
    let bench = Bench::new();
    let job = bench.job(&site.url("/k"), "");
    bench.try_once(&job).await.unwrap();
    // The disk is new, the file was damaged: it is fetched once more, and the site gives another.
    bench.place("e").clear().unwrap();
    let error = bench.try_once(&job).await.unwrap_err();
    assert!(matches!(error, Error::Changed { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&sha512(&first)) && text.contains(&sha512(&second)), "{text}");
    assert!(text.contains("set the sha512 of the asset"), "the way out: {text}");
    bench.assert_nothing_here();
    assert_eq!(bench.try_once(&job).await.unwrap().sha512, sha512(&first), "the first one is taken again");

    // A person says that the change is right; from then on the new one is the one that is known.
    bench.place("e").clear().unwrap();
    assert!(bench.try_once(&job).await.is_err());
    bench.try_once(&bench.job(&site.url("/k"), &sha512(&second))).await.unwrap();
    bench.place("e").clear().unwrap();
    assert_eq!(bench.try_once(&job).await.unwrap().sha512, sha512(&second));
}

#[tokio::test]
async fn another_environments_file_is_no_way_around_what_is_known() {
    let site =
        Site::start(|asked| Reply::file(asked, TAG, if asked.before == 0 { b"one" } else { b"two" })).await;
    let bench = Bench::new();
    let job = bench.job(&site.url("/k"), "");
    bench.try_once(&job).await.unwrap();
    bench.place("e").clear().unwrap();
    let other = Job { place: bench.place("f"), elsewhere: Vec::new(), ..job.clone() };
    bench.try_once(&other).await.unwrap();
    let error = bench.try_once(&job).await.unwrap_err();
    assert!(matches!(error, Error::Changed { .. }), "{error:?}");
}

#[tokio::test]
async fn a_page_is_no_kernel_whatever_its_status() {
    const PAGE: &[u8] = b"\r\n<!DOCTYPE html><title>Log in</title>";
    let site = Site::start(|asked| match asked.path.as_str() {
        "/typed" => {
            Reply::raw("200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 6", b"kernel")
        }
        "/plain" => Reply::raw("200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6", b"kernel"),
        _ => Reply::raw("200 OK\r\nContent-Length: 38", PAGE),
    })
    .await;
    let bench = Bench::new();
    std::fs::create_dir(bench.assets()).unwrap();
    std::fs::write(bench.assets().join("k"), PAGE).unwrap();
    let uploaded = format!("file://{}/k", bench.assets().display());
    for url in [site.url("/typed"), site.url("/untyped"), uploaded] {
        let error = bench.try_once(&bench.job(&url, "")).await.unwrap_err();
        assert_eq!(error.category(), "content", "{url}: {error:?}");
        bench.assert_nothing_here();
    }
    bench.try_once(&bench.job(&site.url("/plain"), "")).await.unwrap();
    // A SHA-512 says that it is what is wanted.
    bench.try_once(&bench.job(&site.url("/typed"), &sha512(b"kernel"))).await.unwrap();
    bench.try_once(&bench.job(&site.url("/untyped"), &sha512(PAGE))).await.unwrap();
}
