//! What the agent of a registered machine is told to do.
//!
//! It must never order anything of an agent that is not known to be the machine's, by its token and by its card.

use bloomery_agent_api as pb;
use bloomery_api::ServerStatus;
use bloomery_api::condition::{self, Condition, Severity};
use bloomery_api::decision::agent::{self as orders, AgentOptions, AgentOrders, WipeOrder, WipeRefusal};
use bloomery_api::decision::identity::Marks;
use bloomery_api::exempt::ExemptDisks;
use kube::Client;
use tonic::Status;

use super::objects::{ATTEMPTS, Machine, Source, Written, contended, now, status_of};
use super::register::{Applicant, Called};
use super::serve::Handler;
use super::{decide, heartbeat};
use crate::boots::{Caller, Problem};
use crate::events::Happening;
use crate::tokens::CheckError;

/// Condition of a Server whose agent called without a boot token although it could have had orders.
pub(super) const AGENT_TOKEN: &str = "AgentToken";
/// Its reason.
const NO_TOKEN: &str = "NoToken";
/// Its message, and that of the event.
const NO_TOKEN_MESSAGE: &str = "the machine's agent shows no boot token, so it is given no orders: upstream's agents \
                                have none. To trust such agents: sidero.requireAgentToken: false in bloomery.yaml";

/// What a call of `CreateServer` comes to.
struct Told {
    response: pb::CreateServerResponse,
    /// The status with what the call tells, if it is to be written.
    status: Option<ServerStatus>,
    /// Whether it begins to say that the agent has no token.
    lacks_token: bool,
}

impl Handler {
    /// Tells the agent what to do. What it tells goes on record before; so does an order to wipe, on the very version of
    /// the Server that it was decided on: a cache that is behind orders nothing.
    pub(super) async fn instruct(
        &self,
        client: &Client,
        applicant: &Applicant,
        Called { mut machine, checked }: Called,
    ) -> Result<pb::CreateServerResponse, Status> {
        let name = machine.server.metadata.name.clone().unwrap_or_default();
        for _ in 0..ATTEMPTS {
            let Told { mut response, status, lacks_token } = self.tell(applicant, &machine, &checked).await?;
            let written = match status {
                None => Ok(None),
                Some(status) => self.write_status(client, &machine, status).await.map(Some),
            };
            match written {
                Ok(Some(Written::Changed)) => {
                    machine = self.machine(client, &name, Source::Api).await?;
                    continue;
                }
                Ok(Some(Written::Done(_))) if lacks_token => {
                    tracing::warn!(server = name, "agent without boot token: it is given no orders");
                    let event = Happening::of(&machine.server, "Agent Token", format!("{NO_TOKEN_MESSAGE}."));
                    self.services.events.record(event.warning());
                }
                Ok(Some(Written::Done(_)) | None) => {}
                Err(error) if response.wipe => return Err(error),
                Err(error) => {
                    tracing::warn!(server = name, %error, "what an agent tells was not written");
                    response.addresses_taken = false;
                }
            }
            if response.wipe {
                self.services.edge.metrics.wipes_ordered.inc();
            }
            tracing::info!(
                server = name,
                wipe = response.wipe,
                setup_bmc = response.setup_bmc,
                restart = response.restart,
                reason = response.message,
                "agent told what to do"
            );
            return Ok(response);
        }
        Err(contended(&name))
    }

    async fn tell(
        &self,
        applicant: &Applicant,
        machine: &Machine,
        checked: &Result<Caller, CheckError>,
    ) -> Result<Told, Status> {
        let options = AgentOptions {
            auto_bmc_setup: self.services.sidero.auto_bmc_setup,
            insecure_wipe: self.services.sidero.insecure_wipe,
        };
        let mut orders = orders::agent(&machine.view(), options);
        let caller = match checked {
            Ok(_) if !is_proven(machine, &applicant.marks) => {
                let name = machine.server.metadata.name.as_deref();
                tracing::warn!(server = name, "agent shows no network card of its Server");
                Err(CheckError::Problem(Problem::Card))
            }
            Ok(caller) if self.remember(caller, &orders) => {
                orders.setup_bmc |= self.is_half_set_up(caller, machine);
                Ok(caller)
            }
            Ok(_) => Err(CheckError::Problem(Problem::Replaced)),
            Err(error) => Err(error.clone()),
        };
        let mut response = match &caller {
            Ok(caller) => self.told(&orders, machine, caller).await?,
            Err(error) => without_token(&orders, error),
        };
        let before = status_of(&machine.server);
        let mut status = before.clone();
        response.addresses_taken = applicant.may_report_addresses(machine, checked);
        if response.addresses_taken {
            let merged = decide::addresses(&status.addresses, &applicant.addresses)
                .map_err(|error| Status::invalid_argument(error.to_string()))?;
            status.addresses = merged.unwrap_or(status.addresses);
        }
        let lacks_token = self.show_token(&mut status, &orders, caller.as_ref().err());
        if response.wipe {
            heartbeat::order_wipe(&mut status, now());
        }
        let is_news = response.wipe || status != before;
        Ok(Told { response, status: is_news.then_some(status), lacks_token })
    }

    /// Notes in the caller's boot that it is to set up its controller; false when that boot is over.
    fn remember(&self, caller: &Caller, orders: &AgentOrders) -> bool {
        let noted = self.services.tokens.with(caller, |memory| {
            if orders.setup_bmc {
                memory.bmc.get_or_insert_default();
            }
        });
        noted.is_some()
    }

    async fn told(
        &self,
        orders: &AgentOrders,
        machine: &Machine,
        caller: &Caller,
    ) -> Result<pb::CreateServerResponse, Status> {
        let Machine { server, authority, .. } = machine;
        let (_, reason) = reason(orders);
        let order = match &orders.wipe {
            WipeOrder::Wipe(record) => {
                let signed = self.services.tokens.sign_order(caller, server, authority, record).await;
                signed.map_err(|error| Status::unavailable(bloomery_base::chain(&error)))?
            }
            WipeOrder::Refuse(_) => None,
        };
        let wipe = order.is_some();
        let exempt = ExemptDisks::of_or_none(server);
        let exempt = exempt.disks().iter();
        let sealing_key = self.services.tokens.sealing_key().await;
        Ok(pb::CreateServerResponse {
            wipe,
            insecure_wipe: orders.insecure_wipe,
            setup_bmc: orders.setup_bmc,
            reboot_timeout: if wipe {
                self.services.sidero.server_reboot_timeout.duration().as_secs_f64()
            } else {
                0.0
            },
            restart: orders.restart,
            held: is_held(orders),
            message: reason.to_owned(),
            sealing_key: sealing_key.map(Vec::from).unwrap_or_default(),
            exempt_disks: exempt
                .map(|disk| pb::ExemptDisk { model: disk.model.clone(), serial: disk.serial.clone() })
                .collect(),
            order: order.unwrap_or_default(),
            addresses_taken: false,
        })
    }

    /// Shows in the status that the agent has no token, while that keeps it from its orders; true when that is news. The
    /// condition has no other writer.
    fn show_token(
        &self,
        status: &mut ServerStatus,
        orders: &AgentOrders,
        problem: Option<&CheckError>,
    ) -> bool {
        let is_ordered = reason(orders).0 || orders.setup_bmc;
        let is_missing = is_ordered && matches!(problem, Some(CheckError::Problem(Problem::Missing)));
        let is_known = condition::find(&status.conditions, AGENT_TOKEN).is_some();
        if is_missing {
            self.services.edge.metrics.agents_without_token.inc();
            let message = NO_TOKEN_MESSAGE.to_owned();
            let missing = Condition::fails(AGENT_TOKEN, Severity::Warning, NO_TOKEN, message, now());
            condition::set(&mut status.conditions, missing);
        } else if problem.is_none() {
            // One that shows its token ends it; any other problem says nothing of that.
            condition::remove(&mut status.conditions, AGENT_TOKEN);
        }
        is_missing && !is_known
    }
}

/// Whether the caller showed a card that its Server has on record; one without any is its machine's by the token alone.
fn is_proven(machine: &Machine, marks: &Marks) -> bool {
    let known = Marks::of_server(&machine.server);
    known.cards.is_empty() || !known.cards.is_disjoint(&marks.cards)
}

fn reason(orders: &AgentOrders) -> (bool, &'static str) {
    match &orders.wipe {
        WipeOrder::Wipe(_) => (true, "its disks are wiped"),
        WipeOrder::Refuse(refusal) => (false, refusal.message()),
    }
}

/// Whether the machine waits for a person to decide which machine it is.
fn is_held(orders: &AgentOrders) -> bool {
    matches!(orders.wipe, WipeOrder::Refuse(WipeRefusal::Conflict))
}

/// The answer to an agent that is not known to be the machine's: it is registered, and told to do nothing but
/// to start over where that helps.
fn without_token(orders: &AgentOrders, error: &CheckError) -> pb::CreateServerResponse {
    let (wipe, reason) = reason(orders);
    let ordered = wipe || orders.setup_bmc;
    let curable = matches!(error, CheckError::Problem(problem) if problem.is_cured_by_a_restart());
    let message = if ordered {
        format!("{}: nothing is written", bloomery_base::chain(error))
    } else {
        reason.to_owned()
    };
    pb::CreateServerResponse {
        restart: orders.restart || (ordered && curable),
        held: is_held(orders),
        message,
        ..pb::CreateServerResponse::default()
    }
}
