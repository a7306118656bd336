//! `ReconcileServerAddresses`: what addresses the machine has, in its Server's status.

use bloomery_agent_api as pb;
use bloomery_api::Server;
use tonic::Status;

use super::decide;
use super::objects::{ATTEMPTS, Source, Written, contended, may_be_its_card, status_of};
use super::serve::{Handler, Shown};

impl Handler {
    pub(super) async fn reconcile_addresses(
        self,
        request: pb::ReconcileServerAddressesRequest,
        shown: Shown,
    ) -> Result<pb::ReconcileServerAddressesResponse, Status> {
        let pb::ReconcileServerAddressesRequest { uuid, address } = request;
        let name = self.name(&uuid, &shown).await?;
        let client = self.client()?;
        for attempt in 0..ATTEMPTS {
            let machine = self.machine(&client, &name, Source::of(attempt)).await?;
            let server = &machine.server;
            // An address of an accepted machine is one that others rely on; of another, its own card is enough.
            if server.spec.accepted || !self.may_be_its_machine(server, &shown).await {
                self.caller(&uuid, &shown).await?;
            }
            let mut status = status_of(server);
            let changed = decide::addresses(&status.addresses, &address)
                .map_err(|error| Status::invalid_argument(error.to_string()))?;
            let Some(addresses) = changed else { return Ok(pb::ReconcileServerAddressesResponse {}) };
            status.addresses = addresses;
            if let Written::Done(_) = self.write_status(&client, &machine, status).await? {
                tracing::info!(server = name, addresses = address.len(), "addresses recorded");
                return Ok(pb::ReconcileServerAddressesResponse {});
            }
        }
        Err(contended(&name))
    }

    /// Whether nothing seen of the client speaks against it that it is the machine of this Server.
    async fn may_be_its_machine(&self, server: &Server, shown: &Shown) -> bool {
        let Some(peer) = shown.peer else { return false };
        may_be_its_card(server, &self.services.neighbours.seen(peer).await)
    }
}
