//! A configuration for people: what is known of it in comments above it, so that the whole is YAML.

use super::Report;

pub(super) fn render(report: &Report) -> String {
    let Report { server, metal_machine, ready, reason, message, patches, config, masked } = report;
    let mut lines = vec![format!("# Server:        {server}"), format!("# MetalMachine:  {metal_machine}")];
    if *ready {
        lines.push("# Usable:        yes".to_owned());
    } else {
        let reason = reason.as_deref().unwrap_or_default();
        let message = message.as_deref().unwrap_or_default().replace('\n', "\n#   ");
        lines.push(format!("# Usable:        no, {reason}: {message}"));
    }
    if !patches.is_empty() {
        lines.push("# Patches, in this order, over the bootstrap data:".to_owned());
        lines.extend(patches.iter().map(|patch| format!("#   {patch}")));
    }
    let config = config.as_deref().unwrap_or_default();
    if *masked && !config.is_empty() {
        lines.push("# Secrets are masked; --show-secrets shows them.".to_owned());
    }
    lines.push(config.to_owned());
    lines.join("\n")
}
