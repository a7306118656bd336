//! A small plane on loopback: proxy DHCP, TFTP, scripts and the agent's API, each as strict as the tests need.

use super::super::config::Target;
use axum::{
    Router,
    extract::{Query, State},
    http::StatusCode,
    routing::get,
};
use bloomery_agent_api::{
    self as pb, TOKEN_METADATA,
    agent_server::{Agent, AgentServer},
    disk_progress,
};
use dhcproto::{
    Decodable, Decoder, Encodable, Encoder,
    v4::{self, DhcpOption, MessageType, Opcode, OptionCode},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard},
};
use tokio::{
    net::{TcpListener, UdpSocket},
    task::JoinSet,
};
use tonic::{Request, Response, Status};

/// Octets of the loader: some windows, and a last block that is not full.
const LOADER: usize = 20_000;

/// How it behaves.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Behaviour {
    /// Orders every machine to wipe, once.
    pub(super) wipe: bool,
    /// DISCOVERs that are lost first.
    pub(super) lost_offers: u32,
    /// `CreateServer` calls that fail first.
    pub(super) failed_calls: u32,
    /// `CreateServer` calls that are answered with a restart order first.
    pub(super) restarts: u32,
    /// Offers files of another machine.
    pub(super) sends_elsewhere: bool,
}

/// What was seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) architectures: BTreeMap<u16, u32>,
    pub(super) loaders: u32,
    /// Newest token of each UUID, and all that were given.
    newest: BTreeMap<String, String>,
    pub(super) tokens: BTreeSet<String>,
    pub(super) created: BTreeSet<String>,
    pub(super) addresses: BTreeSet<String>,
    pub(super) heartbeats: BTreeMap<String, u32>,
    pub(super) wiped: BTreeSet<String>,
    pub(super) refused: u32,
    lost: u32,
    failed: u32,
    restarted: u32,
}

#[derive(Debug, Clone)]
struct Shared {
    behaviour: Behaviour,
    seen: Arc<Mutex<Seen>>,
    http: SocketAddr,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no panic elsewhere")
    }
}

/// The plane; it ends with the value.
#[derive(Debug)]
pub(super) struct Plane {
    pub(super) target: Target,
    /// A port that is free for the machines' power API.
    pub(super) power_port: u16,
    shared: Shared,
    _tasks: JoinSet<()>,
}

impl Plane {
    pub(super) async fn start(behaviour: Behaviour) -> Self {
        let http = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let dhcp = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let tftp = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let power = TcpListener::bind("0.0.0.0:0").await.expect("a port").local_addr().expect("an address");
        let port = |socket: &UdpSocket| socket.local_addr().expect("an address").port();
        let address = http.local_addr().expect("an address");
        let target = Target {
            address: Ipv4Addr::LOCALHOST,
            dhcp_port: port(&dhcp),
            tftp_port: port(&tftp),
            http_port: address.port(),
        };
        let shared = Shared { behaviour, seen: Arc::default(), http: address };
        let mut tasks = JoinSet::new();
        tasks.spawn(offer(dhcp, shared.clone()));
        tasks.spawn(serve_files(tftp, shared.clone()));
        let agent = tonic::service::Routes::new(AgentServer::new(shared.clone())).into_axum_router();
        let file = || async { vec![7_u8; LOADER] };
        let routes = Router::new()
            .route("/boot.ipxe", get(boot_script))
            .route("/tftp/autoexec.ipxe", get(boot_script))
            .route("/tftp/snp.efi", get(file))
            .route("/env/agent/vmlinuz", get(file))
            .route("/env/agent/initramfs.xz", get(file))
            .route("/ipxe", get(decision))
            .with_state(shared.clone())
            .fallback_service(agent);
        tasks.spawn(async move { axum::serve(http, routes).await.expect("a server") });
        Self { target, power_port: power.port(), shared, _tasks: tasks }
    }

    pub(super) fn seen(&self) -> Seen {
        self.shared.seen().clone()
    }
}

async fn boot_script(State(shared): State<Shared>) -> String {
    script(shared.http)
}

fn script(http: SocketAddr) -> String {
    format!(
        "#!ipxe\nchain --replace http://{http}/ipxe?uuid=${{uuid}}&mac=${{netX/mac:hexhyp}}&arch=${{buildarch}} ||\n"
    )
}

async fn decision(
    State(shared): State<Shared>,
    Query(query): Query<BTreeMap<String, String>>,
) -> (StatusCode, String) {
    let Some(uuid) = query.get("uuid") else { return (StatusCode::BAD_REQUEST, String::new()) };
    let mut seen = shared.seen();
    let token = format!("token-{}", seen.tokens.len());
    seen.tokens.insert(token.clone());
    seen.newest.insert(uuid.clone(), token.clone());
    let script = format!(
        "#!ipxe\nkernel /env/agent/vmlinuz quiet sidero.mac={} sidero.endpoint={} bloomery.token={token}\n\
         initrd /env/agent/initramfs.xz\nboot\n",
        query["mac"], shared.http
    );
    (StatusCode::OK, script)
}

async fn offer(socket: UdpSocket, shared: Shared) {
    let mut buffer = [0; 2048];
    loop {
        let (len, from) = socket.recv_from(&mut buffer).await.expect("a datagram");
        let request = v4::Message::decode(&mut Decoder::new(&buffer[..len])).expect("a DHCP message");
        assert_eq!(SocketAddr::from((request.giaddr(), from.port())), from, "answers go to the relay");
        let holds = |part: &[u8]| buffer[..len].windows(part.len()).any(|window| window == part);
        let known = [0_u16, 7, 11, 16];
        let architecture =
            known.into_iter().find(|code| holds(&[&[93, 2], &code.to_be_bytes()[..]].concat()));
        let architecture = architecture.expect("an architecture");
        {
            let mut seen = shared.seen();
            if seen.lost < shared.behaviour.lost_offers {
                seen.lost += 1;
                continue;
            }
            *seen.architectures.entry(architecture).or_default() += 1;
        }
        let host = if shared.behaviour.sends_elsewhere {
            "192.0.2.1:8081".to_owned()
        } else {
            shared.http.to_string()
        };
        let (class, file) = match architecture {
            _ if holds(b"iPXE") => ("PXEClient", format!("http://{host}/boot.ipxe")),
            0 => ("PXEClient", "undionly.kpxe".to_owned()),
            7 => ("PXEClient", "snp.efi".to_owned()),
            11 => ("PXEClient", "snp-arm64.efi".to_owned()),
            _ => ("HTTPClient", format!("http://{host}/tftp/snp.efi")),
        };
        let mut reply = v4::Message::default();
        reply.set_opcode(Opcode::BootReply).set_xid(request.xid()).set_chaddr(request.chaddr());
        reply.set_siaddr(Ipv4Addr::LOCALHOST);
        let options = reply.opts_mut();
        options.insert(DhcpOption::MessageType(MessageType::Offer));
        options.insert(DhcpOption::ClassIdentifier(class.as_bytes().to_vec()));
        options.insert(DhcpOption::BootfileName(file.into_bytes()));
        assert!(request.opts().get(OptionCode::ClassIdentifier).is_some());
        let mut octets = Vec::new();
        reply.encode(&mut Encoder::new(&mut octets)).expect("octets");
        socket.send_to(&octets, from).await.expect("an answer");
    }
}

/// A TFTP server without windows: `blksize` and `tsize` only, a block for each acknowledgement.
async fn serve_files(socket: UdpSocket, shared: Shared) {
    let mut buffer = [0; 2048];
    let mut readers: BTreeMap<SocketAddr, Vec<u8>> = BTreeMap::new();
    loop {
        let (len, from) = socket.recv_from(&mut buffer).await.expect("a datagram");
        let (op, rest) = buffer[..len].split_at(2);
        let answer = match op {
            [0, 1] => {
                let words: Vec<String> = rest
                    .split(|octet| *octet == 0)
                    .map(|word| String::from_utf8_lossy(word).into_owned())
                    .collect();
                let script = words[0] == "autoexec.ipxe";
                let file = if script { script_octets(&shared) } else { vec![7; LOADER] };
                let asks_size = words.iter().any(|word| word == "tsize");
                if !script && !asks_size {
                    shared.seen().loaders += 1;
                }
                readers.insert(from, file.clone());
                let size = if asks_size { format!("tsize\0{}\0", file.len()) } else { String::new() };
                [vec![0, 6], b"blksize\x001468\0windowsize\x001\0".to_vec(), size.into_bytes()].concat()
            }
            [0, 4] => {
                let Some(file) = readers.get(&from) else { continue };
                let block = u16::from_be_bytes([rest[0], rest[1]]);
                let start = usize::from(block) * 1468;
                if start > file.len() {
                    continue;
                }
                let data = &file[start..(start + 1468).min(file.len())];
                [vec![0, 3], (block + 1).to_be_bytes().to_vec(), data.to_vec()].concat()
            }
            _ => {
                readers.remove(&from);
                continue;
            }
        };
        socket.send_to(&answer, from).await.expect("an answer");
    }
}

fn script_octets(shared: &Shared) -> Vec<u8> {
    script(shared.http).into_bytes()
}

impl Shared {
    /// Fails unless the call shows the newest token of its machine.
    fn check<T>(&self, request: &Request<T>, uuid: &str) -> Result<(), Status> {
        let shown = request.metadata().get(TOKEN_METADATA).and_then(|token| token.to_str().ok());
        let mut seen = self.seen();
        if shown.is_some() && shown == seen.newest.get(uuid).map(String::as_str) {
            return Ok(());
        }
        seen.refused += 1;
        Err(Status::unauthenticated("not the token of this boot"))
    }
}

#[tonic::async_trait]
impl Agent for Shared {
    async fn create_server(
        &self,
        request: Request<pb::CreateServerRequest>,
    ) -> Result<Response<pb::CreateServerResponse>, Status> {
        let uuid =
            request.get_ref().hardware.clone().and_then(|hardware| hardware.system).expect("a system").uuid;
        self.check(&request, &uuid)?;
        let mut seen = self.seen();
        if seen.failed < self.behaviour.failed_calls {
            seen.failed += 1;
            return Err(Status::unavailable("not now"));
        }
        let mut answer = pb::CreateServerResponse::default();
        if seen.restarted < self.behaviour.restarts {
            seen.restarted += 1;
            answer.restart = true;
        } else if self.behaviour.wipe && !seen.wiped.contains(&uuid) {
            (answer.wipe, answer.reboot_timeout) = (true, 1200.0);
        }
        seen.created.insert(uuid);
        Ok(Response::new(answer))
    }

    async fn reconcile_server_addresses(
        &self,
        request: Request<pb::ReconcileServerAddressesRequest>,
    ) -> Result<Response<pb::ReconcileServerAddressesResponse>, Status> {
        self.check(&request, &request.get_ref().uuid.clone())?;
        let addresses = request.into_inner().address;
        self.seen().addresses.extend(addresses.into_iter().map(|address| address.address));
        Ok(Response::new(pb::ReconcileServerAddressesResponse {}))
    }

    async fn heartbeat(
        &self,
        request: Request<pb::HeartbeatRequest>,
    ) -> Result<Response<pb::HeartbeatResponse>, Status> {
        let uuid = request.get_ref().uuid.clone();
        self.check(&request, &uuid)?;
        let disks = &request.get_ref().disks;
        assert!(!disks.is_empty() && disks.iter().all(|disk| disk.state() == disk_progress::State::Wiping));
        *self.seen().heartbeats.entry(uuid).or_default() += 1;
        Ok(Response::new(pb::HeartbeatResponse {}))
    }

    async fn mark_server_as_wiped(
        &self,
        request: Request<pb::MarkServerAsWipedRequest>,
    ) -> Result<Response<pb::MarkServerAsWipedResponse>, Status> {
        let uuid = request.get_ref().uuid.clone();
        self.check(&request, &uuid)?;
        assert!(request.get_ref().disks.iter().all(|disk| disk.done == disk.size));
        self.seen().wiped.insert(uuid);
        Ok(Response::new(pb::MarkServerAsWipedResponse {}))
    }

    async fn update_bmc_info(
        &self,
        _request: Request<pb::UpdateBmcInfoRequest>,
    ) -> Result<Response<pb::UpdateBmcInfoResponse>, Status> {
        Err(Status::unimplemented("no simulated machine has one"))
    }
}
