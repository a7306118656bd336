//! As much of a Kubernetes API as the boot services need to know that they are in charge: the one Plane object.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;

/// Identity of the plane that is measured.
const OWN: &str = "bench";
/// A request's head; the boot services send a few hundred bytes.
const HEAD: usize = 16 << 10;
/// A client that sends nothing must not hold up the next.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves it on loopback of the calling thread's namespace, as long as the process runs; writes the kubeconfig and the
/// plane's identity below `folder`.
pub(super) fn start(folder: &Path) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("failed to listen")?;
    let server = format!("http://{}", listener.local_addr()?);
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{ "name": "c", "cluster": { "server": server } }],
        "users": [{ "name": "u", "user": {} }],
        "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
    });
    std::fs::write(folder.join("kubeconfig"), kubeconfig.to_string())?;
    std::fs::create_dir_all(folder.join("plane"))?;
    let identity = json!({ "id": OWN, "epoch": 1, "revision": 1 });
    std::fs::write(folder.join("plane/id"), identity.to_string())?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that went away is no reason to stop.
            drop(answer(stream));
        }
    });
    Ok(())
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut head, mut filled) = (vec![0; HEAD], 0);
    while filled < HEAD && !head[..filled].windows(4).any(|end| end == b"\r\n\r\n") {
        let more = stream.read(&mut head[filled..])?;
        if more == 0 {
            return Ok(());
        }
        filled += more;
    }
    let body = if head[..filled].windows(8).any(|part| part == b"/planes?") {
        json!({
            "apiVersion": "bloomery.dev/v1alpha1", "kind": "PlaneList", "metadata": { "resourceVersion": "2" },
            "items": [{ "apiVersion": "bloomery.dev/v1alpha1", "kind": "Plane",
                "metadata": { "name": "plane" }, "spec": { "holder": OWN, "epoch": 1 } }],
        })
        .to_string()
    } else {
        "ok".to_owned()
    };
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
