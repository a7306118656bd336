//! WireGuard in this process, for kernels without: boringtun's loop over a TUN device, configured over the protocol
//! that all such programs have (WireGuard's "cross-platform userspace configuration").
//!
//! Never changes a peer that is there: boringtun cannot, and its thread would end. It is removed and added again.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Ipv6Addr;
use std::os::fd::IntoRawFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use bloomery_api::siderolink::peers::{Changes, Key};
use boringtun::device::{DeviceConfig, DeviceHandle};
use data_encoding::HEXLOWER;
use parking_lot::Mutex;
use zeroize::Zeroizing;

/// Its loop answers at once, or has ended.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// One queue and one thread: this is for laboratories.
const CONFIG: DeviceConfig =
    DeviceConfig { n_threads: 1, use_connected_socket: false, use_multi_queue: false, uapi_fd: -1 };

/// Why it does not run.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum UserspaceError {
    #[error("failed to make a pair of sockets")]
    Pair(#[source] std::io::Error),
    #[error("failed to open the TUN device")]
    Open(#[source] Box<boringtun::device::Error>),
    #[error("failed to speak to WireGuard's loop")]
    Exchange(#[source] std::io::Error),
    #[error("failed to change the interface: error number {0}")]
    Refused(i32),
    #[error("failed to understand the answer {0:?}")]
    Answer(String),
}

/// One interface, as long as this lives.
pub(super) struct Userspace {
    /// Its drop ends the loop.
    _device: DeviceHandle,
    control: Arc<Mutex<BufReader<UnixStream>>>,
}

impl Userspace {
    /// Makes the interface.
    pub(super) fn start(name: &str) -> Result<Self, UserspaceError> {
        let (ours, theirs) = UnixStream::pair().map_err(UserspaceError::Pair)?;
        ours.set_read_timeout(Some(ANSWER_WITHIN)).map_err(UserspaceError::Pair)?;
        let config = DeviceConfig { uapi_fd: theirs.into_raw_fd(), ..CONFIG };
        let device =
            DeviceHandle::new(name, config).map_err(|error| UserspaceError::Open(Box::new(error)))?;
        Ok(Self { _device: device, control: Arc::new(Mutex::new(BufReader::new(ours))) })
    }

    /// Sets the plane's key and port; no peers.
    pub(super) async fn set_device(&self, private_key: &Key, port: u16) -> Result<(), UserspaceError> {
        let key = Zeroizing::new(HEXLOWER.encode(private_key));
        let text = format!("private_key={}\nlisten_port={port}\nreplace_peers=true\n", *key);
        self.set(vec![Zeroizing::new(text)]).await
    }

    /// Changes peers, of those that are there now.
    pub(super) async fn apply(
        &self,
        Changes { removed, set }: &Changes,
        now: &BTreeMap<Key, Ipv6Addr>,
    ) -> Result<(), UserspaceError> {
        let mut commands = Vec::new();
        for key in removed.iter().chain(set.iter().map(|(key, _)| key)).filter(|key| now.contains_key(*key)) {
            commands.push(format!("public_key={}\nremove=true\n", HEXLOWER.encode(key)));
        }
        for (key, address) in set {
            commands.push(format!("public_key={}\nallowed_ip={address}/128\n", HEXLOWER.encode(key)));
        }
        self.set(commands.into_iter().map(Zeroizing::new).collect()).await
    }

    /// One command for each: the loop mixes up several peers of one.
    async fn set(&self, commands: Vec<Zeroizing<String>>) -> Result<(), UserspaceError> {
        let control = Arc::clone(&self.control);
        let all = tokio::task::spawn_blocking(move || {
            let mut control = control.lock();
            commands.iter().try_for_each(|command| exchange(&mut control, command))
        });
        all.await.unwrap_or_else(|error| Err(UserspaceError::Exchange(std::io::Error::other(error))))
    }
}

fn exchange(control: &mut BufReader<UnixStream>, command: &str) -> Result<(), UserspaceError> {
    let mut text = Zeroizing::new(String::new());
    // Writing to a string cannot fail.
    let _ = write!(text, "set=1\n{command}\n");
    control.get_mut().write_all(text.as_bytes()).map_err(UserspaceError::Exchange)?;
    let mut answer = String::new();
    loop {
        let mut line = String::new();
        let length = control.read_line(&mut line).map_err(UserspaceError::Exchange)?;
        if length == 0 {
            return Err(UserspaceError::Exchange(std::io::ErrorKind::UnexpectedEof.into()));
        }
        match line.trim_end() {
            "" => break,
            other => answer.push_str(other),
        }
    }
    match answer.strip_prefix("errno=").and_then(|number| number.parse().ok()) {
        Some(0) => Ok(()),
        Some(number) => Err(UserspaceError::Refused(number)),
        None => Err(UserspaceError::Answer(answer)),
    }
}
