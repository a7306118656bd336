//! What the agent of a registered machine is told to do; what it is told is remembered for its boot.
//!
//! It must never order anything of an agent that is not known to be the machine's, by its token and by its card.

use bloomery_agent_api as pb;
use bloomery_api::Server;
use bloomery_api::condition::{self, Condition, Severity};
use bloomery_api::decision::agent::{self as orders, AgentOptions, AgentOrders, WipeOrder, WipeRefusal};
use bloomery_api::decision::identity::Marks;
use bloomery_api::exempt::ExemptDisks;
use kube::Client;
use serde_json::json;

use super::objects::{Machine, Written, merge_status, now};
use super::serve::Handler;
use crate::boots::{Caller, Order, Problem};
use crate::events::Happening;
use crate::tokens::CheckError;

/// Condition of a Server whose agent called without a boot token although it could have had orders.
pub(super) const AGENT_TOKEN: &str = "AgentToken";
/// Its reason.
const NO_TOKEN: &str = "NoToken";
/// Its message, and that of the event.
const NO_TOKEN_MESSAGE: &str = "the machine's agent shows no boot token, so it is given no orders: upstream's agents \
                                have none. To trust such agents: sidero.requireAgentToken: false in bloomery.yaml";

impl Handler {
    pub(super) async fn instruct(
        &self,
        client: &Client,
        machine: &Machine,
        marks: &Marks,
        checked: Result<Caller, CheckError>,
    ) -> pb::CreateServerResponse {
        let options = AgentOptions {
            auto_bmc_setup: self.options.auto_bmc_setup,
            insecure_wipe: self.options.insecure_wipe,
        };
        let mut orders = orders::agent(&machine.view(), options);
        let name = machine.server.metadata.name.as_deref().unwrap_or_default();
        let problem = match checked {
            Ok(_) if !is_proven(machine, marks) => {
                tracing::warn!(server = name, "agent shows no network card of its Server");
                Some(CheckError::Problem(Problem::Card))
            }
            Ok(caller) if self.remember(&caller, machine, &orders) => {
                orders.setup_bmc |= self.is_half_set_up(&caller, machine);
                None
            }
            Ok(_) => Some(CheckError::Problem(Problem::Replaced)),
            Err(error) => Some(error),
        };
        let response = match &problem {
            None => self.told(&orders, &machine.server).await,
            Some(error) => without_token(&orders, error),
        };
        self.show_token(client, machine, &orders, problem.as_ref()).await;
        tracing::info!(
            server = name,
            wipe = response.wipe,
            setup_bmc = response.setup_bmc,
            restart = response.restart,
            reason = response.message,
            "agent told what to do"
        );
        response
    }

    /// Notes the orders in the caller's boot; false when that is over.
    fn remember(&self, caller: &Caller, machine: &Machine, orders: &AgentOrders) -> bool {
        let noted = self.means.tokens.with(caller, |memory| {
            memory.order = match &orders.wipe {
                WipeOrder::Wipe(record) => {
                    self.means.metrics.wipes_ordered.increment();
                    Some(Order { record: record.clone(), server_uid: machine.server.metadata.uid.clone() })
                }
                WipeOrder::Refuse(_) => None,
            };
            if orders.setup_bmc {
                memory.bmc.get_or_insert_default();
            }
        });
        noted.is_some()
    }

    async fn told(&self, orders: &AgentOrders, server: &Server) -> pb::CreateServerResponse {
        let (wipe, reason) = reason(orders);
        let exempt = ExemptDisks::of_or_none(server);
        let exempt = exempt.disks().iter();
        let sealing_key = self.means.tokens.sealing_key().await;
        pb::CreateServerResponse {
            wipe,
            insecure_wipe: orders.insecure_wipe,
            setup_bmc: orders.setup_bmc,
            reboot_timeout: if wipe { self.options.reboot_timeout.as_secs_f64() } else { 0.0 },
            restart: orders.restart,
            held: is_held(orders),
            message: reason.to_owned(),
            sealing_key: sealing_key.map(Vec::from).unwrap_or_default(),
            exempt_disks: exempt
                .map(|disk| pb::ExemptDisk { model: disk.model.clone(), serial: disk.serial.clone() })
                .collect(),
        }
    }

    /// Shows on the Server that its agent has no token, while that keeps it from its orders. The condition has no other
    /// writer, and is written when it changes.
    async fn show_token(
        &self,
        client: &Client,
        machine: &Machine,
        orders: &AgentOrders,
        problem: Option<&CheckError>,
    ) {
        let is_ordered = reason(orders).0 || orders.setup_bmc;
        let is_missing = is_ordered && matches!(problem, Some(CheckError::Problem(Problem::Missing)));
        let server = &machine.server;
        let mut conditions =
            server.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
        let known = condition::find(&conditions, AGENT_TOKEN).is_some();
        if is_missing {
            self.means.metrics.agents_without_token.increment();
        }
        // One that shows its token now ends it; any other problem says nothing of that.
        match (is_missing, known, problem) {
            (true, false, _) => {
                let message = NO_TOKEN_MESSAGE.to_owned();
                let missing = Condition::fails(AGENT_TOKEN, Severity::Warning, NO_TOKEN, message, now());
                condition::set(&mut conditions, missing);
            }
            (false, true, None) => condition::remove(&mut conditions, AGENT_TOKEN),
            (true, true, _) | (false, true, Some(_)) | (false, false, _) => return,
        }
        let name = server.metadata.name.as_deref().unwrap_or_default();
        match merge_status(client, server, json!({ "conditions": conditions })).await {
            Ok(Written::Done(server)) if is_missing => {
                tracing::warn!(server = name, "agent without boot token: it is given no orders");
                let event = Happening::of(&server, "Agent Token", format!("{NO_TOKEN_MESSAGE}."));
                self.means.events.record(event.warning());
            }
            Ok(Written::Done(_) | Written::Changed) => {}
            Err(error) => tracing::warn!(server = name, %error, "condition of the boot token not written"),
        }
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
