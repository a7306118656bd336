//! `bloomery assets`: files on the appliance for Environments of sites without Internet.
//!
//! Never leaves half a file behind as a whole one: the appliance shows it when its SHA-512 is the one sent.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bloomery_pairing::client::{AdminClient, ClientError};
use bloomery_pairing::wire::{ASSET_PIECE_BYTES, Asset, LARGEST_ASSET_BYTES};
use indicatif::HumanBytes;
use serde::Serialize;
use sha2::{Digest, Sha512};

use crate::connection::{ConnectionArgs, ConnectionError};
use crate::output::{self, Format, OutputError};
use crate::progress;

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
    List(ListArgs),
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

/// Show what is there
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct ListArgs {
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

#[derive(Debug, clap::Args)]
struct Common {
    #[command(flatten)]
    connection: ConnectionArgs,
    /// How to print the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// What an upload has brought.
#[derive(Debug, Serialize)]
struct Uploaded {
    #[serde(flatten)]
    asset: Asset,
    sha512: String,
}

pub(crate) async fn run(args: Args) -> Result<(), AssetsError> {
    match args.command {
        Command::Upload(args) => upload(args).await,
        Command::List(ListArgs { common }) => {
            let client = client(common.connection)?;
            let list = progress::during("asking for the assets", client.assets()).await;
            let list = list.map_err(|source| AssetsError::List { source: Box::new(source) })?;
            print(common.output, &list.assets)
        }
        Command::Delete(DeleteArgs { name, common }) => {
            let client = client(common.connection)?;
            let list = progress::during("removing the asset", client.delete_asset(&escaped(&name)?)).await;
            let list = list.map_err(|source| AssetsError::Delete { name, source: Box::new(source) })?;
            print(common.output, &list.assets)
        }
    }
}

async fn upload(args: UploadArgs) -> Result<(), AssetsError> {
    let UploadArgs { file, name, common } = args;
    let name = name
        .or_else(|| file.file_name().map(|name| name.to_string_lossy().into_owned()))
        .ok_or_else(|| AssetsError::NoName { file: file.clone() })?;
    let client = client(common.connection)?;
    let doing = format!("uploading {}", file.display());
    let uploaded = progress::during(&doing, send(&client, &file, &escaped(&name)?)).await?;
    match common.output {
        Format::Json => output::json(&uploaded),
        Format::Text => {
            let Uploaded { asset: Asset { name: _, size, url }, sha512 } = &uploaded;
            output::text(&format!("url:    {url}\nsha512: {sha512}\nsize:   {}\n", HumanBytes(*size)))
        }
    }
    .map_err(|source| AssetsError::Output { source })
}

/// Sends the file a piece at a time; what it is as a whole is told in the end.
async fn send(client: &AdminClient, file: &Path, name: &str) -> Result<Uploaded, AssetsError> {
    let failed = |source| AssetsError::Read { file: file.to_owned(), source };
    let asking = |source| AssetsError::Upload { file: file.to_owned(), source: Box::new(source) };
    let mut source = File::open(file).map_err(failed)?;
    // What is no plain file is refused by the appliance when it becomes too much.
    let size = source.metadata().map_err(failed)?.len();
    if size > LARGEST_ASSET_BYTES {
        return Err(AssetsError::TooLarge { file: file.to_owned(), size });
    }
    let (mut hasher, mut offset) = (Sha512::new(), 0);
    loop {
        let mut piece = Vec::with_capacity(ASSET_PIECE_BYTES);
        let limit = ASSET_PIECE_BYTES as u64;
        source.by_ref().take(limit).read_to_end(&mut piece).map_err(failed)?;
        if piece.is_empty() {
            break;
        }
        hasher.update(&piece);
        offset = client.put_asset_piece(name, offset, piece).await.map_err(asking)?.received;
    }
    if offset == 0 {
        return Err(AssetsError::Empty { file: file.to_owned() });
    }
    let sha512 = format!("{:x}", hasher.finalize());
    let asset = client.complete_asset(name, &sha512).await.map_err(asking)?;
    Ok(Uploaded { asset, sha512 })
}

/// The name as a part of a path: the appliance says which it takes, but none is none.
fn escaped(name: &str) -> Result<String, AssetsError> {
    if name.is_empty() {
        return Err(AssetsError::EmptyName);
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let escape = |byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    Ok(name.bytes().map(escape).collect())
}

fn client(connection: ConnectionArgs) -> Result<AdminClient, AssetsError> {
    connection
        .resolve()
        .and_then(|connection| connection.appliance())
        .map_err(|source| AssetsError::Connection { source })
}

fn print(format: Format, assets: &[Asset]) -> Result<(), AssetsError> {
    match format {
        Format::Json => output::json(&assets),
        Format::Text => {
            let mut rows = vec![["NAME", "SIZE", "URL"].map(str::to_owned)];
            rows.extend(
                assets.iter().map(|Asset { name, size, url }| {
                    [name.clone(), HumanBytes(*size).to_string(), url.clone()]
                }),
            );
            output::text(&output::table(&rows))
        }
    }
    .map_err(|source| AssetsError::Output { source })
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum AssetsError {
    /// The kubeconfig does not lead to an appliance.
    #[error("failed to find the appliance")]
    Connection { source: ConnectionError },
    /// The appliance did not list them.
    #[error("failed to list the assets")]
    List { source: Box<ClientError> },
    /// The appliance did not remove it.
    #[error("failed to delete the asset {name:?} (`bloomery assets list` shows what is there)")]
    Delete { name: String, source: Box<ClientError> },
    /// The appliance did not take it.
    #[error("failed to upload {}", file.display())]
    Upload { file: PathBuf, source: Box<ClientError> },
    /// More than an appliance takes.
    #[error(
        "failed to upload {}: it has {size} bytes, more than the {LARGEST_ASSET_BYTES} that Environments take",
        file.display()
    )]
    TooLarge {
        file: PathBuf,
        /// What it has.
        size: u64,
    },
    /// `""`.
    #[error(
        "failed to use an empty name: give the asset one with letters, digits, dots, dashes or underscores"
    )]
    EmptyName,
    /// The file cannot be read.
    #[error("failed to read {} for the upload", file.display())]
    Read { file: PathBuf, source: io::Error },
    /// There is nothing in it.
    #[error("failed to upload {}: it is empty", file.display())]
    Empty { file: PathBuf },
    /// The path has no name of its own.
    #[error("failed to name the asset after {}; say what it is called with --name", file.display())]
    NoName { file: PathBuf },
    #[error("failed to print the result")]
    Output { source: OutputError },
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
