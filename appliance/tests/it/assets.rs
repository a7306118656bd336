//! Assets over the wire: in pieces, whole, and for the admin only.

use std::fs;

use bloomery_pairing::client::ClientError;
use bloomery_pairing::wire::ASSET_PIECE_BYTES;

use crate::site::Site;

/// SHA-512 of "abc", from FIPS 180-2 appendix C.1.
const ABC: &str = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";

fn status<T: std::fmt::Debug>(result: Result<T, ClientError>) -> u16 {
    match result {
        Err(ClientError::Refused { status, .. }) => status,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn an_asset_comes_in_pieces_and_is_seen_once_it_is_whole() {
    let site = Site::start().await;
    let client = site.pair().await.1;
    assert_eq!(client.put_asset_piece("k", 0, b"ab".to_vec()).await.unwrap().received, 2);
    // A piece that was sent twice or too early is not added.
    assert_eq!(status(client.put_asset_piece("k", 3, b"c".to_vec()).await), 409);
    assert_eq!(status(client.put_asset_piece("k", 1, b"c".to_vec()).await), 409);
    assert!(client.assets().await.unwrap().assets.is_empty());
    assert_eq!(client.put_asset_piece("k", 2, b"c".to_vec()).await.unwrap().received, 3);
    let asset = client.complete_asset("k", &ABC.to_uppercase()).await.unwrap();
    assert_eq!((asset.size, asset.url), (3, format!("file://{}", site.path("assets/k").display())));
    assert_eq!(fs::read(site.path("assets/k")).unwrap(), b"abc");
    assert_eq!(client.assets().await.unwrap().assets.len(), 1);
    assert!(client.delete_asset("k").await.unwrap().assets.is_empty());
    assert_eq!(status(client.delete_asset("k").await), 404);
}

#[tokio::test]
async fn another_content_than_announced_leaves_the_asset_that_is_there() {
    let site = Site::start().await;
    let client = site.pair().await.1;
    fs::write(site.path("assets/k"), "old").unwrap();
    client.put_asset_piece("k", 0, b"abd".to_vec()).await.unwrap();
    assert_eq!(status(client.complete_asset("k", ABC).await), 409);
    assert_eq!(status(client.complete_asset("k", ABC).await), 404, "the part is gone");
    assert_eq!(fs::read(site.path("assets/k")).unwrap(), b"old");
    // Beginning anew forgets what came before.
    client.put_asset_piece("k", 0, b"xyz".to_vec()).await.unwrap();
    client.put_asset_piece("k", 0, b"abc".to_vec()).await.unwrap();
    client.complete_asset("k", ABC).await.unwrap();
}

#[tokio::test]
async fn only_the_admin_and_only_good_names_and_sizes() {
    let site = Site::start().await;
    let stranger = site.client_of(&site.authority.client("bloomery:controllers", "x"));
    assert_eq!(status(stranger.assets().await), 403);
    assert_eq!(status(stranger.put_asset_piece("k", 0, b"abc".to_vec()).await), 403);
    assert_eq!(status(stranger.complete_asset("k", ABC).await), 403);
    assert_eq!(status(stranger.delete_asset("k").await), 403);
    let client = site.pair().await.1;
    for name in ["..", "%2e%2e%2fadmin.json", "a%2fb", ".k.part", "a%00"] {
        let code = status(client.put_asset_piece(name, 0, b"abc".to_vec()).await);
        assert!(matches!(code, 400 | 404), "{name}: {code}");
    }
    assert_eq!(status(client.put_asset_piece("k", u64::MAX, b"abc".to_vec()).await), 507);
    assert_eq!(status(client.put_asset_piece("k", 0, vec![0; ASSET_PIECE_BYTES + 1]).await), 413);
    client.put_asset_piece("k", 0, vec![0; ASSET_PIECE_BYTES]).await.unwrap();
    let left: Vec<_> =
        fs::read_dir(site.path("assets")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [".k.part"]);
}
