//! The tunnel: one WireGuard interface whose peers are the nodes of the ServerBindings.
//!
//! A peer may speak from its own address alone. Never takes a packet that came in otherwise for one of the tunnel: see
//! [`crate::listen`].

mod kernel;
mod link;
mod userspace;

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::path::Path;

use bloomery_api::siderolink::INTERFACE;
use bloomery_api::siderolink::peers::{Changes, Key};

use crate::config::Implementation;
use crate::installation::Installation;

pub use link::LinkError;

/// What makes packets in this process where the kernel makes none; to be readable and writable.
pub const TUN_DEVICE: &str = "/dev/net/tun";

/// Where modules lie, by kernel release, and the file of the one that is meant.
const MODULES: &str = "/lib/modules";
const MODULE: &str = "/wireguard.ko";

/// Peers changed in one step: the kernel takes messages of limited length.
const CHUNK: usize = 64;

/// Why the tunnel is not as it should be.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum TunnelError {
    #[error("failed to set up the interface {INTERFACE}")]
    Link(#[source] LinkError),
    #[error("failed to configure the kernel's WireGuard")]
    Kernel(#[source] kernel::KernelError),
    #[error("failed to run WireGuard in this process")]
    Userspace(#[source] userspace::UserspaceError),
}

/// Whether the kernel that runs has WireGuard as a module.
fn has_module() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let list = std::fs::read_to_string(Path::new(MODULES).join(release).join("modules.dep"));
    list.is_ok_and(|list| list.contains(MODULE))
}

/// The tunnel, open.
pub struct Tunnel {
    device: Device,
    peers: BTreeMap<Key, Ipv6Addr>,
}

enum Device {
    Kernel(kernel::Kernel),
    Userspace(userspace::Userspace),
}

impl Tunnel {
    /// Opens the tunnel of an installation on this UDP port. Peers that the kernel still has from before stay, so that
    /// a restart of the service interrupts no connection.
    pub async fn open(
        installation: &Installation,
        port: u16,
        implementation: Implementation,
    ) -> Result<Self, TunnelError> {
        let link = link::Link::connect().map_err(TunnelError::Link)?;
        let has_kernel = match implementation {
            Implementation::Userspace => false,
            Implementation::Kernel => {
                link.create_wireguard(INTERFACE).await.map_err(TunnelError::Link)?;
                true
            }
            Implementation::Auto => match link.create_wireguard(INTERFACE).await {
                Ok(()) => true,
                // The service loads no module: PID 1 does, and may not have come so far.
                Err(error) if error.is_unsupported() && !has_module() => false,
                Err(error) => return Err(TunnelError::Link(error)),
            },
        };
        let private_key = &installation.private_key;
        let device = if has_kernel {
            let kernel = kernel::Kernel::connect(INTERFACE).map_err(TunnelError::Kernel)?;
            kernel.set_device(private_key, port).await.map_err(TunnelError::Kernel)?;
            Device::Kernel(kernel)
        } else {
            let userspace = userspace::Userspace::start(INTERFACE).map_err(TunnelError::Userspace)?;
            userspace.set_device(private_key, port).await.map_err(TunnelError::Userspace)?;
            Device::Userspace(userspace)
        };
        let peers = match &device {
            Device::Kernel(kernel) => kernel.peers().await.map_err(TunnelError::Kernel)?,
            Device::Userspace(_) => BTreeMap::new(),
        };
        link.bring_up(INTERFACE, installation.network.server()).await.map_err(TunnelError::Link)?;
        tracing::info!(
            address = %installation.network.server(),
            port,
            in_kernel = has_kernel,
            peers = peers.len(),
            "tunnel open"
        );
        Ok(Self { device, peers })
    }

    /// Makes the peers these.
    pub async fn follow(&mut self, wanted: &BTreeMap<Key, Ipv6Addr>) -> Result<(), TunnelError> {
        let Changes { removed, set } = Changes::between(&self.peers, wanted);
        // First what goes: an address that passes from one key to another is free then.
        for removed in removed.chunks(CHUNK) {
            self.apply(&Changes { removed: removed.to_vec(), set: Vec::new() }).await?;
        }
        for set in set.chunks(CHUNK) {
            self.apply(&Changes { removed: Vec::new(), set: set.to_vec() }).await?;
        }
        Ok(())
    }

    async fn apply(&mut self, changes: &Changes) -> Result<(), TunnelError> {
        match &self.device {
            Device::Kernel(kernel) => kernel.apply(changes).await.map_err(TunnelError::Kernel)?,
            Device::Userspace(userspace) => {
                userspace.apply(changes, &self.peers).await.map_err(TunnelError::Userspace)?;
            }
        }
        for key in &changes.removed {
            self.peers.remove(key);
        }
        self.peers.extend(changes.set.iter().copied());
        Ok(())
    }
}
