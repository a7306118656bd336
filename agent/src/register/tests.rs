//! Against a real gRPC server on loopback: away, up, refusing, slow, and not a plane at all.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bloomery_agent_api::agent_server::{Agent, AgentServer};
use bloomery_agent_api::*;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use super::*;

const UUID: &str = "4c4c4544-0042-3110-8051-b4c04f313233";

/// What the server does and what it was told.
#[derive(Debug, Clone, Default)]
struct Plane {
    told: Arc<Mutex<Vec<String>>>,
    answers: Arc<Mutex<Vec<Result<CreateServerResponse, Status>>>>,
    /// Calls are never answered; their arrival is told.
    hang: Option<Arc<Notify>>,
}

#[tonic::async_trait]
impl Agent for Plane {
    async fn create_server(
        &self,
        request: Request<CreateServerRequest>,
    ) -> Result<Response<CreateServerResponse>, Status> {
        if let Some(arrived) = &self.hang {
            arrived.notify_one();
            std::future::pending::<()>().await;
        }
        let CreateServerRequest { hardware, hostname } = request.into_inner();
        let uuid =
            hardware.and_then(|hardware| hardware.system).map(|system| system.uuid).unwrap_or_default();
        self.told.lock().unwrap().push(format!("create {uuid} {hostname}"));
        let answer =
            self.answers.lock().unwrap().pop().unwrap_or_else(|| Ok(CreateServerResponse::default()));
        answer.map(Response::new)
    }

    async fn reconcile_server_addresses(
        &self,
        request: Request<ReconcileServerAddressesRequest>,
    ) -> Result<Response<ReconcileServerAddressesResponse>, Status> {
        let ReconcileServerAddressesRequest { uuid, address } = request.into_inner();
        let addresses: Vec<String> =
            address.iter().map(|address| format!("{}={}", address.r#type, address.address)).collect();
        self.told.lock().unwrap().push(format!("addresses {uuid} {}", addresses.join(",")));
        Ok(Response::new(ReconcileServerAddressesResponse {}))
    }

    async fn mark_server_as_wiped(
        &self,
        _: Request<MarkServerAsWipedRequest>,
    ) -> Result<Response<MarkServerAsWipedResponse>, Status> {
        self.told.lock().unwrap().push("WIPED".to_owned());
        Ok(Response::new(MarkServerAsWipedResponse {}))
    }

    async fn heartbeat(&self, _: Request<HeartbeatRequest>) -> Result<Response<HeartbeatResponse>, Status> {
        self.told.lock().unwrap().push("HEARTBEAT".to_owned());
        Ok(Response::new(HeartbeatResponse {}))
    }

    async fn update_bmc_info(
        &self,
        _: Request<UpdateBmcInfoRequest>,
    ) -> Result<Response<UpdateBmcInfoResponse>, Status> {
        self.told.lock().unwrap().push("BMC".to_owned());
        Ok(Response::new(UpdateBmcInfoResponse {}))
    }
}

impl Plane {
    fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    /// Serves on a loopback address until the test ends.
    async fn serve(&self, address: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = AgentServer::new(self.clone());
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        address
    }
}

fn any_port() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn inventory(uuid: &str) -> Inventory {
    let system = SystemInformation { uuid: uuid.to_owned(), ..SystemInformation::default() };
    Inventory {
        hardware: HardwareInformation { system: Some(system), ..HardwareInformation::default() },
        addresses: vec!["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()],
    }
}

fn pace() -> Pace {
    Pace {
        first_retry: Duration::from_millis(10),
        longest_retry: Duration::from_millis(40),
        repeat: Duration::from_millis(10),
    }
}

/// A wait's bound, scaled by PATIENCE.
fn limit() -> Duration {
    let patience = std::env::var("PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    Duration::from_secs(10 * patience)
}

async fn next(reports: &mut mpsc::Receiver<Report>) -> Report {
    tokio::time::timeout(limit(), reports.recv()).await.expect("a report in time").expect("the loop goes on")
}

fn start(endpoint: String, pace: Pace) -> mpsc::Receiver<Report> {
    let (sender, reports) = mpsc::channel(1);
    tokio::spawn(async move {
        let read = || async { inventory(UUID) };
        keep_registered(&endpoint, pace, || "m1".to_owned(), read, sender).await;
    });
    reports
}

#[tokio::test]
async fn tells_the_plane_hardware_hostname_and_addresses() {
    let plane = Plane::default();
    let address = plane.serve(any_port()).await;
    let answer = register(&address.to_string(), "m1", &inventory(UUID)).await.unwrap();
    assert_eq!(answer, Answer { wipe: false, setup_bmc: false });
    assert_eq!(
        plane.told(),
        [format!("create {UUID} m1"), format!("addresses {UUID} InternalIP=10.0.0.5,InternalIP=fd00::5"),]
    );
}

#[tokio::test]
async fn keeps_trying_until_the_plane_is_there_and_then_keeps_telling() {
    // A port that was free a moment ago stands for a plane that is not up yet.
    let address = TcpListener::bind(any_port()).await.unwrap().local_addr().unwrap();
    let mut reports = start(address.to_string(), pace());
    for expected in 1..=3 {
        let Report::Failed { error, attempt, retry_in } = next(&mut reports).await else {
            panic!("registered")
        };
        assert!(matches!(error, Error::Connect { .. }), "{error:?}");
        assert!(error.advice().contains("nothing listens on that port"), "{}", error.advice());
        assert_eq!(attempt, expected);
        assert!(retry_in <= Duration::from_millis(80), "{retry_in:?}");
    }
    let plane = Plane::default();
    plane.serve(address).await;
    while !matches!(next(&mut reports).await, Report::Registered { .. }) {}
    for _ in 0..3 {
        assert!(matches!(next(&mut reports).await, Report::Registered { .. }));
    }
    let created = plane.told().iter().filter(|call| call.starts_with("create")).count();
    assert!(created >= 4, "{:?}", plane.told());
}

#[tokio::test]
async fn shows_what_a_refusing_plane_said_and_goes_on() {
    let plane = Plane::default();
    plane.answers.lock().unwrap().push(Err(Status::unknown("servers.metal.sidero.dev is forbidden")));
    let address = plane.serve(any_port()).await;
    let mut reports = start(address.to_string(), pace());
    let Report::Failed { error, .. } = next(&mut reports).await else { panic!("registered") };
    assert!(error.to_string().starts_with("failed to call CreateServer at 127.0.0.1:"), "{error}");
    assert!(error.to_string().ends_with("(servers.metal.sidero.dev is forbidden)"), "{error}");
    assert!(matches!(next(&mut reports).await, Report::Registered { .. }));
}

#[tokio::test]
async fn a_plane_that_asks_for_a_wipe_gets_neither_a_wipe_nor_a_claim_of_one() {
    let plane = Plane::default();
    let wish = CreateServerResponse {
        wipe: true,
        insecure_wipe: true,
        setup_bmc: true,
        reboot_timeout: 30.0,
        ..CreateServerResponse::default()
    };
    plane.answers.lock().unwrap().push(Ok(wish));
    let address = plane.serve(any_port()).await;
    let answer = register(&address.to_string(), "", &inventory(UUID)).await.unwrap();
    assert_eq!(answer, Answer { wipe: true, setup_bmc: true });
    assert_eq!(plane.told().len(), 2, "{:?}", plane.told());
    assert!(plane.told().iter().all(|call| call.starts_with("create") || call.starts_with("addresses")));
}

#[tokio::test]
async fn gives_up_a_call_that_is_never_answered() {
    let arrived = Arc::new(Notify::new());
    let plane = Plane { hang: Some(arrived.clone()), ..Plane::default() };
    let endpoint = plane.serve(any_port()).await.to_string();
    let inventory = inventory(UUID);
    let registering = register(&endpoint, "", &inventory);
    tokio::pin!(registering);
    tokio::select! {
        outcome = &mut registering => panic!("{outcome:?}"),
        () = arrived.notified() => {}
    }
    // The call is under way: from here on only the limit can end it, and the clock leaps to it.
    tokio::time::pause();
    let error = registering.await.unwrap_err();
    assert!(matches!(error, Error::Silent { method: "CreateServer", .. }), "{error:?}");
}

#[tokio::test]
async fn a_web_server_in_the_planes_place_is_an_error_with_advice() {
    let listener = TcpListener::bind(any_port()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        }
    });
    let error = register(&address.to_string(), "", &inventory(UUID)).await.unwrap_err();
    assert!(matches!(error, Error::Call { .. } | Error::Connect { .. }), "{error:?}");
    assert!(!error.advice().is_empty());
}

#[tokio::test]
async fn a_machine_without_identity_is_not_registered() {
    let plane = Plane::default();
    let address = plane.serve(any_port()).await;
    let error = register(&address.to_string(), "", &inventory("")).await.unwrap_err();
    assert!(matches!(error, Error::NoIdentity), "{error:?}");
    assert_eq!(plane.told(), [""; 0]);
}
