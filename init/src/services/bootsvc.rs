//! `bootsvc`: proxy DHCP, TFTP, HTTP and the agent's API. The only child with rights beyond its user's.

use super::Inputs;
use crate::accounts;
use crate::layout::BOOTSVC_HEALTH_PORT;
use crate::supervise::limits::{Limits, MemoryLimit};
use crate::supervise::probe::Probe;
use crate::supervise::service::Service;
use bloomery_config::Role;
use bloomery_sys::process::Capabilities;

/// It takes what strangers send: killed first.
const LIMITS: Limits = Limits::new(MemoryLimit { percent: 25, floor_mib: 224 }, 900);

pub(super) fn service(inputs: &Inputs) -> Service {
    let probe = Probe::Http { port: BOOTSVC_HEALTH_PORT, path: "/readyz" };
    let mut service = Service::daemon("bootsvc", inputs.layout.program("bootsvc"), probe);
    service.user = inputs.accounts.user(accounts::BOOTSVC);
    service.limits = LIMITS;
    // Ports 67 and 69. Binding a socket to a card needs no right of its own since Linux 5.7.
    service.capabilities = Capabilities::NET_BIND_SERVICE;
    service.generation = inputs.generation;
    let sidero = &inputs.config.sidero;
    let interfaces = |role| inputs.config.network.with_role(role).collect::<Vec<_>>().join(",");
    service.args = vec![
        "--confine".to_owned(),
        format!("--kubeconfig={}", inputs.file("bootsvc", "kubeconfig")),
        format!("--share-dir={}", inputs.layout.share.display()),
        format!("--env-dir={}", inputs.layout.env().display()),
        format!("--health-addr=127.0.0.1:{BOOTSVC_HEALTH_PORT}"),
        format!("--api-endpoint={}", inputs.api_endpoint()),
        format!("--api-port={}", sidero.api_port),
        format!("--http-port={}", sidero.http_port),
        format!("--extra-agent-kernel-args={}", sidero.extra_agent_kernel_args),
        format!("--boot-from-disk-method={}", sidero.boot_from_disk_method.as_str()),
        format!("--auto-accept-servers={}", sidero.auto_accept_servers),
        format!("--insecure-wipe={}", sidero.insecure_wipe),
        format!("--auto-bmc-setup={}", sidero.auto_bmc_setup),
        format!("--server-reboot-timeout={}", sidero.server_reboot_timeout),
        format!("--disable-dhcp-proxy={}", sidero.disable_dhcp_proxy),
        format!("--require-agent-token={}", sidero.require_agent_token),
        format!("--auto-accept-non-empty={}", sidero.auto_accept_non_empty),
        format!("--unknown-machines={}", inputs.config.unknown_machines.as_str()),
        format!("--machines-allow={}", inputs.config.machines.allow.join(",")),
        format!("--machines-deny={}", inputs.config.machines.deny.join(",")),
        format!("--provisioning-interfaces={}", interfaces(Role::Provisioning)),
        format!("--management-interfaces={}", interfaces(Role::Management)),
    ];
    service
}
