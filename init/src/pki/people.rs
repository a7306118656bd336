//! Certificates of administrators: the pairings, their authorities, and the client certificates that the servers take.
//!
//! The list and its keys never leave this process; the appliance server, which faces the network, asks over a socket.

use super::rights;
use super::{Error, Pki};
use crate::accounts::{self, Accounts};
use crate::files;
use crate::layout::{KUBERNETES_API_PORT, Layout};
use crate::supervise::log_file::LogSink;
use bloomery_pairing::SecretFileError;
use bloomery_pairing::authority::{self, Authority, Bundle, Entry, Files, Identity, Plane, Services};
use bloomery_pairing::local::Rights;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::net::UnixListener;

/// The list, in the directory of the authorities.
pub const PAIRINGS: &str = "pairings.json";
/// Client authorities of the API server: of processes, and of the pairings that are good.
pub const API_CLIENTS: &str = "clients.crt";
/// Client authorities of the appliance server: of the pairings that are good, and no others.
pub const APPLIANCE_CLIENTS: &str = "pairings.crt";
/// Where the appliance server asks.
pub const SOCKET: &str = "authority.sock";
/// The audit log of what people did on the appliance server; bounded as every log.
pub const AUDIT_LOG: &str = "appliance-audit";

/// The authority of people on this machine.
pub type People = Authority<Servers>;

/// The servers that take people's certificates.
#[derive(Debug)]
pub struct Servers {
    layout: Layout,
    accounts: Accounts,
    logs: LogSink,
    /// Signs the servers, and what an earlier version gave to everybody.
    server_authority: String,
    /// Signs processes.
    client_authority: String,
    api_port: u16,
}

impl Servers {
    /// Of this layout.
    pub fn new(layout: &Layout, accounts: Accounts, logs: LogSink, pki: &Pki) -> Self {
        Self {
            layout: layout.clone(),
            accounts,
            logs,
            server_authority: pki.ca.certificate().to_owned(),
            client_authority: pki.client_ca.certificate().to_owned(),
            api_port: KUBERNETES_API_PORT,
        }
    }

    /// With the API server at another port.
    #[must_use]
    pub fn with_api_port(self, api_port: u16) -> Self {
        Self { api_port, ..self }
    }
}

impl Plane for Servers {
    fn publish(&self, bundle: &Bundle) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let Bundle { pairings, shared } = bundle;
        let shared = shared.then_some(&self.server_authority);
        let people: String = shared.into_iter().chain(pairings).map(String::as_str).collect();
        let clients = format!("{}{people}", self.client_authority);
        // The appliance's first: whoever is refused by one of them is refused by the narrower one at least.
        for (service, file, text, user) in [
            ("appliance", APPLIANCE_CLIENTS, &people, accounts::APPLIANCE),
            ("kube-apiserver", API_CLIENTS, &clients, accounts::APISERVER),
        ] {
            let path = self.layout.service_file(service, file);
            files::replace(&path, text.as_bytes(), files::PRIVATE, self.accounts.owner(user))?;
        }
        Ok(())
    }

    async fn rights(&self, identity: &Identity) -> Rights {
        rights::ask(self.api_port, &self.server_authority, identity).await
    }

    async fn audit(&self, entry: Entry) {
        let time = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
        self.logs.write(AUDIT_LOG, format!("{time} {entry}\n").into_bytes()).await;
    }
}

/// Opens the list and tells the servers; their directories have to be there.
pub async fn open(servers: Servers, built: OffsetDateTime) -> Result<Arc<People>, Error> {
    let layout = servers.layout.clone();
    keep_secret(&layout).map_err(Error::Secret)?;
    let files = Files { pairings: layout.pki().join(PAIRINGS), secret: layout.pairing_secret() };
    let server_authority = servers.server_authority.clone();
    let people = Authority::open(servers, files, server_authority, built).map_err(Error::Pairings)?;
    publish(&people).await?;
    Ok(Arc::new(people))
}

/// Tells the servers again: pairings have expired since.
pub async fn publish(people: &People) -> Result<(), Error> {
    let what = "tell the servers which certificates to take";
    people.publish().await.map_err(|source| Error::People { what, source })
}

/// Answers the appliance server from now on, also about the services.
pub fn listen(
    people: &Arc<People>,
    services: impl Services,
    layout: &Layout,
    accounts: Accounts,
) -> Result<(), Error> {
    let what = "open the socket where certificates are signed";
    let path = layout.service_file("appliance", SOCKET);
    let owner = accounts.owner(accounts::APPLIANCE);
    let listener = bind(&path, owner).map_err(|source| Error::People { what, source: source.into() })?;
    tokio::spawn(authority::serve(listener, Arc::clone(people), Arc::new(services), owner));
    Ok(())
}

fn bind(path: &Path, owner: Option<u32>) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(files::PRIVATE))?;
    std::os::unix::fs::chown(path, owner, owner)?;
    Ok(listener)
}

/// Takes the secret over from where the appliance server kept it, or makes one.
fn keep_secret(layout: &Layout) -> Result<(), SecretFileError> {
    let (present, former) = (layout.pairing_secret(), layout.former_pairing_secret());
    if !present.exists() && former.exists() {
        let secret = bloomery_pairing::load(&former)?;
        bloomery_pairing::store(&present, &secret)?;
    }
    let secret = bloomery_pairing::load_or_create(&present);
    // Nothing looks at it any more; a rest of it does no harm.
    drop(fs::remove_file(&former));
    secret.map(drop)
}
