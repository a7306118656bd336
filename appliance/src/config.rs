//! The command line, which is all the configuration there is. PID 1 writes it.

use std::net::SocketAddr;
use std::path::PathBuf;

use bloomery_pairing::wire::API_SERVER_PORT;
use clap::Parser;

use crate::neighbours::Neighbour;

/// Serves pairing, status and health of the appliance over HTTPS.
#[derive(Debug, Clone, Parser)]
#[command(version, about)]
pub struct Config {
    /// Where the network reaches the server.
    #[arg(long, default_value = "0.0.0.0:8443")]
    pub listen: SocketAddr,
    /// Certificate chain shown to clients (PEM); read again when it changes.
    #[arg(long)]
    pub tls_cert: PathBuf,
    /// Private key of that certificate (PEM).
    #[arg(long)]
    pub tls_key: PathBuf,
    /// Certificate authorities of the pairings that are good (PEM); read at each request that shows a certificate.
    #[arg(long)]
    pub client_ca: PathBuf,
    /// PID 1's socket, where certificates are signed.
    #[arg(long)]
    pub authority: PathBuf,
    /// PID 1's status file (JSON).
    #[arg(long)]
    pub status: PathBuf,
    /// Directory of the files that Environments can name by `file:` URLs.
    #[arg(long, default_value = "/var/lib/bloomery/assets")]
    pub assets_dir: PathBuf,
    /// Where PID 1 asks for health, over plain HTTP.
    #[arg(long, default_value = "127.0.0.1:9444")]
    pub health_addr: SocketAddr,
    /// Port of the Kubernetes API, as told to those who pair.
    #[arg(long, default_value_t = API_SERVER_PORT)]
    pub api_server_port: u16,
    /// A service whose metrics are served along, by its health address on loopback; repeatable. The one named
    /// `bootsvc` is also asked for boot traces.
    #[arg(long = "service", value_name = "NAME=ADDRESS:PORT")]
    pub services: Vec<Neighbour>,
}
