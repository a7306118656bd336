//! What a URL of an asset means: a pure function of its text and the assets directory.
//!
//! Never lets a `file:` URL name anything outside that directory.

use std::path::{Component, Path, PathBuf};

use url::Url;

/// Where a file comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Web(Url),
    /// A file of the assets directory, by its path below it.
    Asset(PathBuf),
}

/// Why a URL cannot be used. A change of the URL is waited for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("failed to read URL {url}")]
    Syntax { url: String, source: url::ParseError },
    #[error("failed to use URL {url}: want http, https or file")]
    Scheme { url: String },
    #[error("failed to use URL {url}: it is not below {}", directory.display())]
    Outside { url: String, directory: PathBuf },
}

impl Source {
    pub fn parse(text: &str, assets: &Path) -> Result<Self, Unusable> {
        let url = Url::parse(text).map_err(|source| Unusable::Syntax { url: text.to_owned(), source })?;
        match url.scheme() {
            "http" | "https" => Ok(Self::Web(url)),
            "file" => below(&url, assets)
                .map(Self::Asset)
                .ok_or_else(|| Unusable::Outside { url: text.to_owned(), directory: assets.to_owned() }),
            _ => Err(Unusable::Scheme { url: text.to_owned() }),
        }
    }
}

/// Hexadecimal digits of a SHA-512.
pub const SHA512_DIGITS: usize = 128;

/// Whether the text can be a SHA-512.
pub fn is_sha512(text: &str) -> bool {
    text.len() == SHA512_DIGITS && text.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// The path below the directory, of ordinary names only.
fn below(url: &Url, directory: &Path) -> Option<PathBuf> {
    let path = url.to_file_path().ok()?;
    let relative = path.strip_prefix(directory).ok()?;
    let ordinary = relative.components().all(|component| matches!(component, Component::Normal(_)));
    (ordinary && relative.file_name().is_some()).then(|| relative.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ASSETS: &str = "/var/lib/bloomery/assets";

    fn parse(text: &str) -> Result<Source, Unusable> {
        Source::parse(text, Path::new(ASSETS))
    }

    #[test]
    fn urls_are_web_servers_or_assets() {
        assert!(matches!(parse("http://site/k"), Ok(Source::Web(_))));
        assert!(matches!(parse("HTTPS://site:8443/k?x=%20"), Ok(Source::Web(_))));
        for (url, path) in [
            ("file:///var/lib/bloomery/assets/k", "k"),
            ("file://localhost/var/lib/bloomery/assets/talos/v1/k", "talos/v1/k"),
            ("file:///var/lib/bloomery/assets/a%20b", "a b"),
            ("file:///var/lib/bloomery/assets/x/../k", "k"),
        ] {
            assert_eq!(parse(url), Ok(Source::Asset(PathBuf::from(path))), "{url}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_a_reason() {
        for (url, reason) in [
            ("", "failed to read URL"),
            ("k", "failed to read URL"),
            ("ftp://site/k", "want http, https or file"),
            ("data:,k", "want http, https or file"),
            ("file:///etc/shadow", "is not below"),
            ("file:///var/lib/bloomery/assets", "is not below"),
            ("file:///var/lib/bloomery/assets/", "is not below"),
            ("file:///var/lib/bloomery/assets/../pki/ca.key", "is not below"),
            ("file:///var/lib/bloomery/assets/%2e%2e/pki/ca.key", "is not below"),
            ("file:///var/lib/bloomery/assetsx/k", "is not below"),
            ("file://other/var/lib/bloomery/assets/k", "is not below"),
        ] {
            let error = parse(url).unwrap_err().to_string();
            assert!(error.contains(reason), "{url}: {error}");
        }
        let encoded = parse("file:///var/lib/bloomery/assets/a%2f..%2f..%2fpki");
        assert!(matches!(encoded, Err(Unusable::Outside { .. })), "{encoded:?}");
    }

    proptest! {
        #[test]
        fn no_file_url_leaves_the_directory(tail in "[a-z./%2efF\\\\]{0,40}") {
            if let Ok(Source::Asset(path)) = parse(&format!("file://{ASSETS}/{tail}")) {
                prop_assert!(path.components().all(|component| matches!(component, Component::Normal(_))));
            }
        }
    }
}
