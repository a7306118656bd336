//! A machine's HTTP power API that remembers what it was told.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Between two looks at whether an answer is held back.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Asking for the power state.
const STATUS: &str = "status";
/// "Boot from the network once".
const PXE: &str = "pxeboot";

#[derive(Default)]
struct Machine {
    on: bool,
    broken: bool,
    /// What is not answered.
    held: HashSet<&'static str>,
    asked: usize,
    told: Vec<&'static str>,
}

/// The API of one machine.
#[derive(Clone)]
pub(crate) struct PowerApi {
    machine: Arc<Mutex<Machine>>,
    /// For `spec.managementApi.endpoint`.
    pub(crate) endpoint: String,
}

type Shared = State<Arc<Mutex<Machine>>>;

impl PowerApi {
    /// Starts it; the machine is `on` or off.
    pub(crate) async fn start(on: bool) -> Self {
        let machine = Arc::new(Mutex::new(Machine { on, ..Machine::default() }));
        let router = Router::new()
            .route(
                "/status",
                get(async |State(machine): Shared| -> Result<Json<Value>, StatusCode> {
                    machine.lock().unwrap().asked += 1;
                    while machine.lock().unwrap().held.contains(STATUS) {
                        tokio::time::sleep(LOOK_AGAIN).await;
                    }
                    let machine = machine.lock().unwrap();
                    if machine.broken {
                        return Err(StatusCode::INTERNAL_SERVER_ERROR);
                    }
                    Ok(Json(json!({ "PoweredOn": machine.on })))
                }),
            )
            .route("/poweron", post(async |machine: Shared| tell(&machine, "poweron", Some(true))))
            .route("/poweroff", post(async |machine: Shared| tell(&machine, "poweroff", Some(false))))
            .route("/reboot", post(async |machine: Shared| tell(&machine, "reboot", Some(true))))
            .route(
                "/pxeboot",
                post(async |machine: Shared| {
                    let told = tell(&machine, PXE, None);
                    while machine.lock().unwrap().held.contains(PXE) {
                        tokio::time::sleep(LOOK_AGAIN).await;
                    }
                    told
                }),
            )
            .with_state(Arc::clone(&machine));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { machine, endpoint }
    }

    /// Every command so far, in order.
    pub(crate) fn told(&self) -> Vec<&'static str> {
        self.machine.lock().unwrap().told.clone()
    }

    /// How often it was told that.
    pub(crate) fn count(&self, command: &str) -> usize {
        self.told().iter().filter(|told| **told == command).count()
    }

    /// Whether it is on.
    pub(crate) fn is_on(&self) -> bool {
        self.machine.lock().unwrap().on
    }

    /// Answers nothing from now on, or what was asked meanwhile.
    pub(crate) fn hold(&self, held: bool) {
        self.set_held(STATUS, held);
    }

    /// Takes "boot from the network once" and answers nothing to it from now on, or what it was asked meanwhile.
    pub(crate) fn hold_pxe(&self, held: bool) {
        self.set_held(PXE, held);
    }

    fn set_held(&self, what: &'static str, held: bool) {
        let all = &mut self.machine.lock().unwrap().held;
        if held {
            all.insert(what);
        } else {
            all.remove(what);
        }
    }

    /// How often its state was asked for.
    pub(crate) fn asked(&self) -> usize {
        self.machine.lock().unwrap().asked
    }

    /// Answers errors from now on, or no more.
    pub(crate) fn break_down(&self, broken: bool) {
        self.machine.lock().unwrap().broken = broken;
    }
}

fn tell(machine: &Mutex<Machine>, command: &'static str, on: Option<bool>) -> StatusCode {
    let mut machine = machine.lock().unwrap();
    if machine.broken {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    machine.told.push(command);
    machine.on = on.unwrap_or(machine.on);
    StatusCode::OK
}
