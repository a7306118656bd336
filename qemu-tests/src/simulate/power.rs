//! The machines' power API, as talosctl's QEMU provisioner has it: one listener, a machine for each address.
//!
//! A connection to an address that no machine has is closed; nobody outside of the machines' network can make one.

use super::{
    machine::{Command, Machine},
    network::Network,
};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::Arc,
};
use tokio::net::{TcpListener, TcpStream};

/// Connections that wait to be accepted: a plane may switch all machines at once.
const BACKLOG: u32 = 4096;

/// The listening power API.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    /// Listens on `port` of all machines' addresses.
    ///
    /// # Errors
    /// The port is taken.
    pub fn open(port: u16) -> io::Result<Self> {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        // A prefix cannot be bound; whose address was called is looked at for each connection.
        socket.bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())?;
        socket.listen(BACKLOG).map(Self)
    }

    /// Answers for ever.
    pub async fn serve(self, network: Network, machines: HashMap<u32, Arc<Machine>>) {
        loop {
            let Ok((stream, _)) = self.0.accept().await else {
                // Out of files: let others end first.
                tokio::task::yield_now().await;
                continue;
            };
            let called = stream.local_addr().ok().and_then(|called| match called {
                SocketAddr::V4(called) => network.index_of(*called.ip()),
                SocketAddr::V6(_) => None,
            });
            if let Some(machine) = called.and_then(|index| machines.get(&index)) {
                tokio::spawn(answer(stream, Arc::clone(machine)));
            }
        }
    }
}

async fn answer(stream: TcpStream, machine: Arc<Machine>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = respond(&machine, request.method(), request.uri().path());
        std::future::ready(Ok::<_, Infallible>(response))
    });
    // A client that hangs up is its own affair.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn respond(machine: &Machine, method: &Method, path: &str) -> Response<Full<Bytes>> {
    let command = match (method, path) {
        (&Method::GET, "/status") => {
            let body = format!("{{\"PoweredOn\":{}}}\n", machine.is_on());
            return response(StatusCode::OK, body);
        }
        (&Method::POST, "/poweron") => Command::On,
        (&Method::POST, "/poweroff") => Command::Off,
        (&Method::POST, "/reboot") => Command::Reboot,
        (&Method::POST, "/pxeboot") => Command::Pxe,
        _ => return response(StatusCode::NOT_FOUND, String::new()),
    };
    machine.command(command);
    response(StatusCode::OK, String::new())
}

fn response(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}
