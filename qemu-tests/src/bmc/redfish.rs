//! sushy-tools' Redfish emulator with its fake driver, in front of a real machine.
//!
//! The emulator keeps what was asked for and tells us of every change; here the switch is turned, and what the
//! emulator lacks is added: HTTPS, faults, a boot override that ends with the boot, and a power state that follows a
//! machine that goes off by itself.

mod front;
mod sushy;

use super::{NOTIFY_PORTS, PASSWORD, SUSHY_PORTS, Start, USER};
use crate::{net::Process, tool};
use anyhow::{Context, Result};
use front::Front;
use std::{fs, sync::Arc};
use sushy::Sushy;
use tokio::{net::UnixListener, task::JoinHandle};

/// Where `make setup` puts the emulator.
const PROGRAM: &str = "sushy/bin/sushy-emulator";
/// Where an administrator may have installed it.
const INSTALLED: &str = "/usr/local/bin/sushy-emulator";
/// bcrypt of [`PASSWORD`]: the emulator reads nothing else.
const PASSWORD_HASH: &str = "$2b$04$5HNzQI5hRJcIAbTqLVX3K.ULIyrkRB0Kbm0O.1du1ll.7DdDeAEpK";

pub(super) async fn start(bmc: &Start<'_>) -> Result<(Vec<Process>, Vec<JoinHandle<()>>)> {
    let program = tool::find(bmc.dir.root(), PROGRAM, INSTALLED, "python3-venv and the package sushy-tools")?;
    let [config, users, state] =
        ["sushy.conf", "htpasswd", "sushy"].map(|part| format!("run/{}", bmc.name(part)));
    fs::write(bmc.dir.path(&users), format!("{USER}:{PASSWORD_HASH}\n"))
        .context("failed to write the BMC's users")?;
    fs::create_dir_all(bmc.dir.path(&state)).context("failed to make the BMC's state folder")?;
    fs::write(bmc.dir.path(&config), configuration(bmc, &users, &state))
        .context("failed to write the BMC's configuration")?;
    let program = program.to_str().context("failed to name the emulator: its path is not UTF-8")?;
    let argv = [program, "--fake", "--config", &config].map(str::to_owned).to_vec();
    let name = bmc.name("sushy");
    let emulator = bmc.net.spawn(&name, argv, &format!("{name}.log")).await?;

    let sushy = Sushy::new(Arc::clone(bmc.dir), bmc.port(SUSHY_PORTS), &bmc.switch.spec.uuid);
    let front = Arc::new(Front::new(Arc::clone(bmc.switch), sushy));
    let [http, https, notify] = ["http", "https", "notify"].map(|part| format!("run/{}", bmc.name(part)));
    let listen =
        |socket: &str| UnixListener::bind(bmc.dir.socket(socket)).context("failed to make the BMC's socket");
    let secure = front::Https::new(listen(&https)?, bmc.address)?;
    let (plain, notified) = (listen(&http)?, listen(&notify)?);
    let (routes, also, notifications) =
        (front::routes(&front), front::routes(&front), front::notifications(&front));
    // Serving sockets of our own does not end but with these tasks.
    let tasks = vec![
        tokio::spawn(async move { drop(axum::serve(secure, routes).await) }),
        tokio::spawn(async move { drop(axum::serve(plain, also).await) }),
        tokio::spawn(async move { drop(axum::serve(notified, notifications).await) }),
        tokio::spawn(front.clone().follow()),
    ];
    let ports = [
        (format!("{}:443", bmc.address), https),
        (format!("{}:8000", bmc.address), http),
        (format!("127.0.0.1:{}", bmc.port(NOTIFY_PORTS)), notify),
    ];
    let mut joined = bmc.join(&ports).await?;
    front
        .answers([&emulator, &joined.clone()])
        .await
        .with_context(|| format!("failed to reach the emulator; see {}.sushy.log", bmc.switch.spec.name))?;
    if let Some(status) = joined.exit() {
        anyhow::bail!("failed to listen for the BMC: {status}; it said {:?}", joined.ended().await);
    }
    Ok((vec![emulator, joined], tasks))
}

/// Python, as the emulator reads it.
fn configuration(bmc: &Start<'_>, users: &str, state: &str) -> String {
    let spec = &bmc.switch.spec;
    format!(
        "SUSHY_EMULATOR_LISTEN_IP = '127.0.0.1'\n\
         SUSHY_EMULATOR_LISTEN_PORT = {}\n\
         SUSHY_EMULATOR_AUTH_FILE = '{users}'\n\
         SUSHY_EMULATOR_STATE_DIR = '{state}'\n\
         SUSHY_EMULATOR_FAKE_SYSTEMS = [{{\n\
         \x20   'uuid': '{}', 'name': '{}', 'power_state': 'Off', 'external_notifier': True,\n\
         \x20   'nics': [{{'mac': '{}'}}],\n\
         }}]\n\
         EXTERNAL_NOTIFICATION_URL = 'http://127.0.0.1:{}/'\n",
        bmc.port(SUSHY_PORTS),
        spec.uuid,
        spec.name,
        spec.mac,
        bmc.port(NOTIFY_PORTS),
    )
}

/// The header value with which anyone gets in.
fn authorization() -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")))
}
