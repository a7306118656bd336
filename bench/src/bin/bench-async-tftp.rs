//! The crate async-tftp as a server: serves a folder on 127.0.0.1:69, with its own settings.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use async_tftp::server::TftpServerBuilder;

/// Where the other servers of the measurement are, too.
const ADDRESS: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 69);

fn main() -> anyhow::Result<()> {
    let folder = std::env::args_os().nth(1).context("usage: bench-async-tftp FOLDER")?;
    futures::executor::block_on(async {
        let builder = TftpServerBuilder::with_dir_ro(&folder).context("failed to open the folder")?;
        let server = builder.bind(SocketAddr::from(ADDRESS)).build().await.context("failed to bind")?;
        server.serve().await.context("failed to serve")
    })
}
