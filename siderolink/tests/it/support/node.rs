//! A node: a machine on a network of its own that asks for a tunnel, speaks WireGuard and sends events and logs, as Talos
//! does.
//!
//! Its WireGuard is boringtun's loop over a TUN device: the kernel that the tests run on need not have one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::IntoRawFd as _;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::Duration;

use bloomery_api::siderolink::key_text;
use bloomery_siderolink_api::events::EventRequest;
use bloomery_siderolink_api::events::event_sink_service_client::EventSinkServiceClient;
use bloomery_siderolink_api::link::provision_service_client::ProvisionServiceClient;
use bloomery_siderolink_api::link::{ProvisionRequest, ProvisionResponse};
use bloomery_testkit::namespace::{Network, ip};
use boringtun::device::{DeviceConfig, DeviceHandle};
use boringtun::x25519::{PublicKey, StaticSecret};
use data_encoding::{BASE64, HEXLOWER};
use prost::Message;
use prost_types::Any;
use tonic::Status;
use tonic::transport::Endpoint;

use super::site::{PROVISION, SERVER};

/// Longest wait for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

pub(crate) struct Node {
    network: Network,
    uuid: String,
    secret: [u8; 32],
}

impl Node {
    /// A machine at this address of the machines' network.
    pub(crate) fn new(uuid: &str, number: u8) -> Self {
        let network = Network::new();
        network.cable(
            (&format!("lan{number}"), &plane_side(number)),
            ("eth0", Some(&format!("10.77.{number}.50/24"))),
        );
        network.within(|| ip("route add 10.77.0.3/32 dev eth0"));
        Self { network, uuid: uuid.to_owned(), secret: rand::random() }
    }

    /// The key of another boot.
    pub(crate) fn restart(&mut self) {
        self.secret = rand::random();
    }

    pub(crate) fn public_key(&self) -> String {
        key_text(&PublicKey::from(&StaticSecret::from(self.secret)).to_bytes())
    }

    /// Runs something on the node's network, in a runtime of its own.
    fn run<T: Send>(&self, work: impl AsyncFnOnce() -> T + Send) -> T {
        self.network.within(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(work())
        })
    }

    /// Asks for a tunnel.
    pub(crate) fn provision(&self) -> Result<ProvisionResponse, Status> {
        self.provision_with(&self.uuid, &self.public_key())
    }

    /// Asks for one in any name.
    pub(crate) fn provision_with(&self, uuid: &str, key: &str) -> Result<ProvisionResponse, Status> {
        let request = ProvisionRequest {
            node_uuid: uuid.to_owned(),
            node_public_key: key.to_owned(),
            talos_version: Some("v1.13.9".to_owned()),
            ..ProvisionRequest::default()
        };
        self.run(async || {
            let endpoint = Endpoint::from_shared(format!("http://{PROVISION}")).unwrap();
            let channel =
                endpoint.connect_timeout(ANSWER_WITHIN).timeout(ANSWER_WITHIN).connect().await.unwrap();
            ProvisionServiceClient::new(channel).provision(request).await.map(tonic::Response::into_inner)
        })
    }

    /// Opens the tunnel that it was given.
    pub(crate) fn connect(&self, given: &ProvisionResponse) -> Tunnel<'_> {
        self.connect_as(given, &given.node_address_prefix)
    }

    /// Opens it with another address than it was given.
    pub(crate) fn connect_as(&self, given: &ProvisionResponse, address: &str) -> Tunnel<'_> {
        let (device, control) = self.network.within(|| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let config = DeviceConfig {
                n_threads: 1,
                use_connected_socket: false,
                use_multi_queue: false,
                uapi_fd: theirs.into_raw_fd(),
            };
            let device = DeviceHandle::new("siderolink", config).unwrap();
            let peer = HEXLOWER.encode(&BASE64.decode(given.server_public_key.as_bytes()).unwrap());
            let mut control = BufReader::new(ours);
            command(&mut control, &format!("private_key={}\n", HEXLOWER.encode(&self.secret)));
            command(
                &mut control,
                &format!(
                    "public_key={peer}\nendpoint={}\nallowed_ip={}/128\npersistent_keepalive_interval=25\n",
                    given.server_endpoint[0], given.server_address
                ),
            );
            ip(&format!("addr add {address} dev siderolink nodad"));
            ip("link set siderolink mtu 1280 up");
            (device, control)
        });
        Tunnel { node: self, _device: device, _control: control }
    }

    /// Sends what is for the plane's address in the tunnel over the cable.
    pub(crate) fn go_past_the_tunnel(&self) {
        self.network.within(|| {
            ip("-6 addr add fd00:77::50/64 dev eth0 nodad");
            ip(&format!("-6 route add {SERVER}/128 via fd00:77::3 dev eth0"));
        });
    }

    /// Ends that.
    pub(crate) fn come_back(&self) {
        self.network.within(|| ip(&format!("-6 route del {SERVER}/128 via fd00:77::3 dev eth0")));
    }

    /// Tries to reach a port of the plane's address in the tunnel from an address of its own.
    pub(crate) fn reach(&self, from: &str, port: u16) -> std::io::Result<()> {
        self.network.within(|| {
            let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None)?;
            socket.set_freebind_v6(true)?;
            socket.bind(&SocketAddr::new(from.parse().unwrap(), 0).into())?;
            let to = SocketAddr::new(SERVER.parse().unwrap(), port);
            socket.connect_timeout(&to.into(), Duration::from_secs(3))
        })
    }
}

/// The plane's ends: the first has the address that all nodes call.
fn plane_side(number: u8) -> String {
    format!("10.77.{number}.3/24")
}

fn command(control: &mut BufReader<UnixStream>, text: &str) {
    control.get_mut().write_all(format!("set=1\n{text}\n").as_bytes()).unwrap();
    let mut answer = String::new();
    control.read_line(&mut answer).unwrap();
    assert_eq!(answer.trim(), "errno=0", "{text}");
    control.read_line(&mut answer).unwrap();
}

/// The node's end of the tunnel, while it is open.
pub(crate) struct Tunnel<'a> {
    node: &'a Node,
    _device: DeviceHandle,
    /// Its end would end the loop.
    _control: BufReader<UnixStream>,
}

impl Tunnel<'_> {
    /// Sends events on one connection, one after the other; the answer of each.
    pub(crate) fn publish(&self, events: Vec<Any>) -> Vec<Result<(), Status>> {
        self.node.run(async move || {
            let endpoint = Endpoint::from_shared(format!("http://[{SERVER}]:4002")).unwrap();
            let endpoint = endpoint.connect_timeout(ANSWER_WITHIN).timeout(Duration::from_mins(2));
            let mut last = None;
            // The first packets of a tunnel may be lost while it is made.
            for _ in 0..10 {
                match endpoint.connect().await {
                    Ok(channel) => {
                        let mut client = EventSinkServiceClient::new(channel);
                        let mut answers = Vec::new();
                        for data in events {
                            let request = EventRequest { data: Some(data), ..EventRequest::default() };
                            answers.push(client.publish(request).await.map(drop));
                        }
                        return answers;
                    }
                    Err(error) => last = Some(error),
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            panic!("the event sink was not reached: {last:?}");
        })
    }

    /// A connection to the log receiver.
    pub(crate) fn log(&self) -> TcpStream {
        self.node.network.within(|| {
            let address = SocketAddr::new(SERVER.parse().unwrap(), 4001);
            for _ in 0..10 {
                if let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_secs(3)) {
                    return stream;
                }
            }
            panic!("the log receiver was not reached");
        })
    }

    /// Whether the log receiver is reached within some seconds.
    pub(crate) fn reaches(&self) -> bool {
        let address = SocketAddr::new(SERVER.parse::<Ipv6Addr>().unwrap().into(), 4001);
        self.node.network.within(|| TcpStream::connect_timeout(&address, Duration::from_secs(3)).is_ok())
    }
}

/// An event as nodes send it.
pub(crate) fn event(kind: &str, message: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/machine.{kind}"), value: message.encode_to_vec() }
}

/// Sends octets as fast as they are taken, for so long; how many were.
pub(crate) fn flood(mut stream: TcpStream, line: &[u8], duration: Duration) -> usize {
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let (done, ended) = mpsc::channel::<()>();
    let piece = line.repeat(64);
    let sender = std::thread::spawn(move || {
        let mut sent = 0;
        while ended.try_recv().is_err() {
            match stream.write(&piece) {
                Ok(length) => sent += length,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
        sent
    });
    let (_kept, never) = std::sync::mpsc::channel::<()>();
    let _ = never.recv_timeout(duration);
    let _ = done.send(());
    sender.join().unwrap()
}
