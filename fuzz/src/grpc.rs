//! A `CreateServer` request: decoded and turned into a Server's hardware.
use bloomery_agent_api::CreateServerRequest;
use prost::Message as _;

/// One input.
pub fn run(message: &[u8]) {
    let Ok(request) = CreateServerRequest::decode(message) else { return };
    let Some(hardware) = request.hardware else { return };
    let uuid = hardware.system.as_ref().map_or("", |system| system.uuid.as_str());
    if let Ok(name) = bootsvc::agent::decide::server_name(uuid) {
        let _ = bootsvc::agent::wire::hardware(&hardware, &name);
    }
    let _ = bootsvc::agent::wire::text(&request.hostname);
}
