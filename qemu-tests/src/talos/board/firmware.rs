//! From power-on to what the plane wants booted: the offer, the boot script, the answer for this machine.

use crate::simulate::{
    config::Target,
    dhcp::{Relay, Speaker},
    fetch::{Http, Want},
    inventory::Identity,
    script::{self, AgentBoot, Kernel, Order},
    trouble::Trouble,
};
use std::{
    net::{SocketAddr, SocketAddrV4},
    time::Duration,
};
use tokio::time::sleep;

/// Pause of the boot script between two questions, and how often it asks (`/boot.ipxe`).
const PAUSE: Duration = Duration::from_secs(5);
const PASSES: u32 = 11;

/// What is to be booted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Boot {
    /// The plane's agent.
    Agent(AgentBoot),
    /// The kernel of an Environment.
    Environment(Kernel),
    /// The machine's own disk.
    Disk,
}

/// Asks the plane, as iPXE does.
pub(super) async fn boot(identity: &Identity, target: &Target) -> Result<Boot, Trouble> {
    // The node's address is not leased: only the plane is asked, for the boot file.
    let relay = Relay::open(identity.address, target).map_err(Trouble::Socket)?;
    let offer = relay.discover(identity, Speaker::Ipxe, || {}).await?;
    drop(relay);
    let plane: SocketAddr = SocketAddrV4::new(target.address, target.http_port).into();
    let mut http = Http::new(identity.address, plane);
    let path = http.path_of(&offer.file)?;
    let answer = http.file(&path, Want::All).await?;
    let script = text(&path, &answer.head)?;
    let url = script::chain(script, identity).map_err(|problem| broken(&path, problem))?;
    let mut path = http.path_of(&url)?;
    let mut passes = 1;
    loop {
        match ask(&mut http, &path).await {
            // The plane decides how long.
            Ok(Order::Wait(url)) => path = http.path_of(&url)?,
            Ok(Order::Disk) => return Ok(Boot::Disk),
            Ok(Order::Kernel(kernel)) => {
                for file in &kernel.files {
                    http.file(file, Want::Head).await?;
                }
                return Ok(kernel.agent.clone().map_or(Boot::Environment(kernel), Boot::Agent));
            }
            Err(trouble) if passes >= PASSES => return Err(trouble),
            Err(trouble) => {
                super::say(&format!("firmware: {trouble}"));
                passes += 1;
            }
        }
        sleep(PAUSE).await;
    }
}

async fn ask(http: &mut Http, path: &str) -> Result<Order, Trouble> {
    let answer = http.get(path, Want::All).await?;
    match answer.status {
        200 => script::order(text(path, &answer.head)?).map_err(|problem| broken(path, problem)),
        // One of the three ways to be sent to the disk.
        404 => Ok(Order::Disk),
        status => Err(Trouble::HttpStatus { path: path.to_owned(), status }),
    }
}

fn text<'a>(path: &str, bytes: &'a [u8]) -> Result<&'a str, Trouble> {
    std::str::from_utf8(bytes).map_err(|_| broken(path, "it is no text"))
}

fn broken(path: &str, problem: &'static str) -> Trouble {
    Trouble::Script { path: path.to_owned(), problem }
}
