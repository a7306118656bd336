//! `bloomery assets`: files on the appliance for Environments of sites without Internet.
//!
//! Never leaves half a file behind as a whole one: the appliance shows it when its SHA-512 is the one sent.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use bloomery_pairing::client::AdminClient;
use bloomery_pairing::wire::{ASSET_PIECE_BYTES, Asset, LARGEST_ASSET_BYTES};
use indicatif::HumanBytes;
use serde::Serialize;
use sha2::{Digest, Sha512};

use crate::connection::Common;
use crate::output::{self, Format};
use crate::progress;

const NOT_PRINTED: &str = "failed to print the result";

const EXAMPLES: &str = "\
Examples:
  # Put a kernel on the appliance; the URL for the Environment is printed
  bloomery assets upload vmlinuz-amd64 --name talos-1.13.0-vmlinuz-amd64

  # What is there, and away with it
  bloomery assets list
  bloomery assets delete talos-1.13.0-vmlinuz-amd64";

/// Manage the files that Environments name by file: URLs
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Upload(UploadArgs),
    /// Show what is there
    #[command(after_help = EXAMPLES)]
    List(Common),
    Delete(DeleteArgs),
}

/// Put a file on the appliance
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct UploadArgs {
    /// The file
    file: PathBuf,
    /// What it is called there [default: its own name]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Remove a file; Environments that have it keep their copy
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct DeleteArgs {
    /// Its name
    name: String,
    #[command(flatten)]
    common: Common,
}

/// What an upload has brought.
#[derive(Debug, Serialize)]
struct Uploaded {
    #[serde(flatten)]
    asset: Asset,
    sha512: String,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Upload(args) => upload(args).await,
        Command::List(common) => {
            let (client, _) = common.connection.appliance()?;
            let list = progress::during("asking for the assets", client.assets()).await;
            print(common.output, &list.context("failed to list the assets")?.assets)
        }
        Command::Delete(DeleteArgs { name, common }) => {
            let (client, _) = common.connection.appliance()?;
            let list = progress::during("removing the asset", client.delete_asset(&escaped(&name)?)).await;
            let list = list.with_context(|| {
                format!("failed to delete the asset {name:?} (`bloomery assets list` shows what is there)")
            })?;
            print(common.output, &list.assets)
        }
    }
}

async fn upload(args: UploadArgs) -> anyhow::Result<()> {
    let UploadArgs { file, name, common } = args;
    let name = name
        .or_else(|| file.file_name().map(|name| name.to_string_lossy().into_owned()))
        .with_context(|| {
            format!("failed to name the asset after {}; say what it is called with --name", file.display())
        })?;
    let (client, _) = common.connection.appliance()?;
    let doing = format!("uploading {}", file.display());
    let uploaded = progress::during(&doing, send(&client, &file, &escaped(&name)?)).await?;
    let Uploaded { asset: Asset { name: _, size, url }, sha512 } = &uploaded;
    let text = || format!("url:    {url}\nsha512: {sha512}\nsize:   {}\n", HumanBytes(*size));
    common.output.print(&uploaded, text).context(NOT_PRINTED)
}

/// Sends the file a piece at a time; what it is as a whole is told in the end.
async fn send(client: &AdminClient, file: &Path, name: &str) -> anyhow::Result<Uploaded> {
    let path = file.display();
    let failed = || format!("failed to read {path} for the upload");
    let asking = || format!("failed to upload {path}");
    let mut source = File::open(file).with_context(failed)?;
    // What is no plain file is refused by the appliance when it becomes too much.
    let size = source.metadata().with_context(failed)?.len();
    ensure!(
        size <= LARGEST_ASSET_BYTES,
        "failed to upload {path}: it has {size} bytes, more than the {LARGEST_ASSET_BYTES} that Environments take"
    );
    let (mut hasher, mut offset) = (Sha512::new(), 0);
    loop {
        let mut piece = Vec::with_capacity(ASSET_PIECE_BYTES);
        let limit = ASSET_PIECE_BYTES as u64;
        source.by_ref().take(limit).read_to_end(&mut piece).with_context(failed)?;
        if piece.is_empty() {
            break;
        }
        hasher.update(&piece);
        offset = client.put_asset_piece(name, offset, piece).await.with_context(asking)?.received;
    }
    ensure!(offset > 0, "failed to upload {path}: it is empty");
    let sha512 = format!("{:x}", hasher.finalize());
    let asset = client.complete_asset(name, &sha512).await.with_context(asking)?;
    Ok(Uploaded { asset, sha512 })
}

/// The name as a part of a path: the appliance says which it takes, but none is none.
fn escaped(name: &str) -> anyhow::Result<String> {
    if name.is_empty() {
        bail!(
            "failed to use an empty name: give the asset one with letters, digits, dots, dashes or underscores"
        );
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let escape = |byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    Ok(name.bytes().map(escape).collect())
}

fn print(format: Format, assets: &[Asset]) -> anyhow::Result<()> {
    let row = |Asset { name, size, url }: &Asset| [name.clone(), HumanBytes(*size).to_string(), url.clone()];
    let heading = ["NAME", "SIZE", "URL"].map(str::to_owned);
    let rows = std::iter::once(heading).chain(assets.iter().map(row));
    format.print(&assets, || output::table(&rows.collect::<Vec<_>>())).context(NOT_PRINTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_place_in_the_path() {
        assert_eq!(escaped("talos-1.13.0_k").unwrap(), "talos-1.13.0_k");
        assert_eq!(escaped("a/b c?d").unwrap(), "a%2Fb%20c%3Fd");
        assert!(escaped("").is_err());
    }
}
