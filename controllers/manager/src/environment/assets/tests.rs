//! What is found of a file, by its content, its record and its source.

use super::*;
use crate::download::Fetcher;
use bloomery_api::EnvironmentSpec;
use bloomery_api::environment::{AssetCondition, EnvironmentStatus, READY};

/// SHA-512 of "abc", from FIPS 180-2 appendix C.1.
const ABC: &str = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
const URL: &str = "http://site/k";

struct Bench {
    root: tempfile::TempDir,
    digests: Digests,
}

impl Bench {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), digests: Digests::default() }
    }

    fn job(&self, url: &str, sha512: &str) -> Job {
        let wanted = Wanted { file: KERNEL_FILE, url: url.to_owned(), sha512: sha512.to_owned() };
        job(self.root.path(), &self.root.path().join("assets"), "e", &wanted).unwrap()
    }

    fn write(&self, content: &str, url: Option<&str>, sha512: &str) {
        let place = self.job(URL, "").place;
        std::fs::create_dir_all(place.directory()).unwrap();
        std::fs::write(place.path(), content).unwrap();
        if let Some(url) = url {
            let record = Record { url: url.to_owned(), sha512: sha512.to_owned(), copied_from: None };
            place.write_record(&record).unwrap();
        }
    }

    async fn look(&self, sha512: &str, is_known: bool) -> Finding {
        inspect(&self.job(URL, sha512), None, is_known, &self.digests).await.unwrap()
    }
}

fn mismatch(wanted: &str) -> Finding {
    Finding::Mismatch { wanted: wanted.to_owned(), actual: ABC.to_owned() }
}

#[tokio::test]
async fn a_recorded_file_counts_by_its_url_its_record_and_the_digest_asked_for() {
    let bench = Bench::new();
    assert_eq!(bench.look("", false).await, Finding::Missing);
    bench.write("abc", Some(URL), ABC);
    assert_eq!(bench.look("", false).await, Finding::Verified);
    assert_eq!(bench.look(&ABC.to_uppercase(), false).await, Finding::Verified);
    let other = "0".repeat(128);
    assert_eq!(bench.look(&other, false).await, mismatch(&other));

    bench.write("abc", Some("http://site/old"), ABC);
    assert_eq!(bench.look("", false).await, Finding::Missing, "it serves until it is replaced");
    bench.write("abc", Some(URL), &other);
    assert_eq!(bench.look("", false).await, mismatch(&other), "it is not what came");
    bench.write("", Some(URL), ABC);
    assert_eq!(bench.look("", false).await, Finding::Missing);
}

#[tokio::test]
async fn a_file_without_record_counts_by_its_digest_or_because_it_was_ready() {
    let bench = Bench::new();
    bench.write("abc", None, "");
    assert_eq!(bench.look("", false).await, Finding::Missing);
    assert_eq!(bench.look(&"0".repeat(128), true).await, Finding::Missing);
    assert_eq!(bench.look("", true).await, Finding::Verified);
    assert_eq!(bench.look("", false).await, Finding::Verified, "it has a record now");
    let bench = Bench::new();
    bench.write("abc", None, "");
    assert_eq!(bench.look(ABC, false).await, Finding::Verified);
}

#[tokio::test]
async fn a_changed_asset_is_copied_again_unless_its_digest_is_given() {
    let bench = Bench::new();
    let assets = bench.root.path().join("assets");
    std::fs::create_dir(&assets).unwrap();
    std::fs::write(assets.join("k"), "abc").unwrap();
    let url = format!("file://{}/k", assets.display());
    let limits = crate::download::Limits { reserve: 0, ..crate::download::Limits::default() };
    let fetcher = Fetcher { trust: crate::download::Trust::default(), limits, assets: assets.clone() };
    let job = bench.job(&url, "");
    let stop = tokio_util::sync::CancellationToken::new();
    fetcher.fetch(&job, &crate::download::Progress::default(), &stop).await.unwrap();
    let look =
        async |job: &Job| inspect(job, fetcher.stamp(&job.source), false, &bench.digests).await.unwrap();
    assert_eq!(look(&job).await, Finding::Verified);
    std::fs::write(assets.join("k"), "other").unwrap();
    assert_eq!(look(&job).await, Finding::Missing);
    assert_eq!(look(&bench.job(&url, ABC)).await, Finding::Verified);
    std::fs::remove_file(assets.join("k")).unwrap();
    assert_eq!(look(&job).await, Finding::Verified, "what is in place stays good");
}

#[test]
fn what_can_never_be_fetched_says_why() {
    let root = Path::new("/env");
    let with = |url: &str, sha512: &str| Wanted {
        file: KERNEL_FILE,
        url: url.to_owned(),
        sha512: sha512.to_owned(),
    };
    let whole = "aF".repeat(SHA512_DIGITS / 2);
    assert!(job(root, Path::new("/a"), "e", &with(URL, &whole)).is_ok());
    for (name, wanted, reason) in [
        ("e", with(URL, "a"), "128 hexadecimal digits"),
        ("e", with(URL, &whole.replace('a', "g")), "128 hexadecimal digits"),
        ("e", with("ftp://site/k", ""), "want http, https or file"),
        ("e", with("file:///etc/shadow", ""), "is not below /a"),
        ("..", with(URL, ""), "makes no directory"),
    ] {
        let problem = job(root, Path::new("/a"), name, &wanted).unwrap_err();
        assert!(problem.contains(reason), "{problem}");
    }
}

#[test]
fn only_assets_with_a_url_are_asked_for_and_only_a_true_condition_of_it_is_believed() {
    let mut environment = Environment::new("e", EnvironmentSpec::default());
    assert!(wanted(&environment).is_empty());
    environment.spec.initrd.url = URL.to_owned();
    let asked = wanted(&environment);
    assert_eq!(asked.iter().map(|wanted| wanted.file).collect::<Vec<_>>(), [INITRD_FILE]);
    for (url, status, ready) in [
        (URL, ConditionStatus::True, true),
        (URL, ConditionStatus::False, false),
        ("http://site/old", ConditionStatus::True, false),
    ] {
        let condition =
            AssetCondition { url: url.to_owned(), sha512: String::new(), status, type_: READY.to_owned() };
        environment.status = Some(EnvironmentStatus { conditions: vec![condition] });
        assert_eq!(was_ready(&environment, &asked[0]), ready, "{url} {status:?}");
    }
}

#[test]
fn the_same_file_may_be_in_every_other_place() {
    let bench = Bench::new();
    for name in ["e", "f", ".x"] {
        std::fs::create_dir(bench.root.path().join(name)).unwrap();
    }
    let own = bench.job(URL, "").place;
    let mut found: Vec<PathBuf> = elsewhere(bench.root.path(), &own).iter().map(Place::path).collect();
    found.sort();
    let expected = ["e/initramfs.xz", "f/initramfs.xz", "f/vmlinuz"].map(|path| bench.root.path().join(path));
    assert_eq!(found, expected);
}
