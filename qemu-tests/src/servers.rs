//! `Server` objects as any client of the API sees them: by their wire form, not by the product's types.
//!
//! It changes only what a person would with `kubectl patch`.

use anyhow::{Context, Result};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams},
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::{Value, json};
use std::fmt::Write;

/// A machine as `kubectl get servers -o json` shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// The SMBIOS UUID.
    pub name: String,
    /// Distinguishes the object from a later one of the same name.
    pub uid: String,
    /// The whole specification.
    pub spec: Value,
    /// The whole status.
    pub status: Value,
}

impl Server {
    /// A text or number below `spec.hardware`, by JSON pointer (RFC 6901), empty when absent.
    pub fn hardware(&self, pointer: &str) -> String {
        match self.spec.pointer(&format!("/hardware{pointer}")) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            Some(_) | None => String::new(),
        }
    }
}

impl Server {
    /// Whether it is accepted, and the plane says that its disks are wiped.
    pub fn is_clean(&self) -> bool {
        self.spec["accepted"] == true && self.status["isClean"] == true
    }

    /// Whether the plane has seen that its power is off.
    pub fn is_off(&self) -> bool {
        self.status["power"] == "off"
    }

    /// What a condition says, if it is there: its status, reason and message.
    pub fn condition(&self, kind: &str) -> Option<String> {
        let conditions = self.status["conditions"].as_array()?;
        let condition = conditions.iter().find(|condition| condition["type"] == kind)?;
        let text = |field: &str| condition[field].as_str().unwrap_or_default();
        Some(format!("{} {} {}", text("status"), text("reason"), text("message")).trim_end().to_owned())
    }
}

impl From<DynamicObject> for Server {
    fn from(object: DynamicObject) -> Self {
        let part = |name: &str| object.data.get(name).cloned().unwrap_or_default();
        Self {
            spec: part("spec"),
            status: part("status"),
            name: object.metadata.name.unwrap_or_default(),
            uid: object.metadata.uid.unwrap_or_default(),
        }
    }
}

fn api(client: &Client, kind: &str, plural: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("metal.sidero.dev", "v1alpha2", kind);
    Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&kind, plural))
}

/// The server `name`.
///
/// # Errors
/// There is none, or the API does not answer.
pub async fn get(client: &Client, name: &str) -> Result<Server> {
    let found = api(client, "Server", "servers").get(name).await;
    found.map(Server::from).with_context(|| format!("failed to read server {name}"))
}

/// Changes the specification of server `name` as `kubectl patch --type merge` does.
///
/// # Errors
/// The API refuses or does not answer.
pub async fn patch_spec(client: &Client, name: &str, spec: Value) -> Result<()> {
    let patch = Patch::Merge(json!({ "spec": spec }));
    let patched = api(client, "Server", "servers").patch(name, &PatchParams::default(), &patch).await;
    patched.map(drop).with_context(|| format!("failed to change server {name}"))
}

/// Names of the servers that class `name` can give away.
///
/// # Errors
/// There is no such class, or the API does not answer.
pub async fn available(client: &Client, class: &str) -> Result<Vec<String>> {
    let found = api(client, "ServerClass", "serverclasses").get(class).await;
    let found = found.with_context(|| format!("failed to read server class {class}"))?;
    let names = found.data["status"]["serversAvailable"].as_array().cloned().unwrap_or_default();
    Ok(names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// All servers, sorted by name.
///
/// # Errors
/// The API does not answer, or does not know the kind.
pub async fn list(client: &Client) -> Result<Vec<Server>> {
    let found = api(client, "Server", "servers").list(&ListParams::default()).await;
    let found = found.context("failed to list servers")?;
    let mut servers: Vec<Server> = found.items.into_iter().map(Server::from).collect();
    servers.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(servers)
}

/// The servers as a table for people.
pub fn table(servers: &[Server]) -> String {
    let mut rows = vec![
        ["UUID", "MANUFACTURER", "PRODUCT", "SERIAL", "CORES", "MEMORY", "DISKS", "NICS"].map(String::from),
    ];
    rows.extend(servers.iter().map(|server| {
        [
            server.name.clone(),
            server.hardware("/system/manufacturer"),
            server.hardware("/system/productName"),
            server.hardware("/system/serialNumber"),
            server.hardware("/compute/totalCoreCount"),
            server.hardware("/memory/totalSize"),
            disks(server),
            server.hardware("/network/interfaceCount"),
        ]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let cell = if cell.is_empty() { "-" } else { cell };
            // Writing to a string cannot fail.
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn disks(server: &Server) -> String {
    let (count, size) = (server.hardware("/storage/deviceCount"), server.hardware("/storage/totalSize"));
    if count.is_empty() || size.is_empty() { count } else { format!("{count} ({size})") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn table_shows_hardware_and_dashes_for_what_is_unknown() {
        let server = |name: &str, spec: Value| Server {
            name: name.to_owned(),
            uid: String::new(),
            spec,
            status: Value::Null,
        };
        let servers = [
            server(
                "0ef10000-0000-4000-8000-000000000001",
                json!({"accepted": false, "hardware": {
                    "system": {"manufacturer": "Bloomery Lab", "productName": "Blank UEFI", "serialNumber": "LAB-0001"},
                    "compute": {"totalCoreCount": 2},
                    "memory": {"totalSize": "1 GB"},
                    "storage": {"deviceCount": 1, "totalSize": "8 GB"},
                    "network": {"interfaceCount": 2},
                }}),
            ),
            server("b1050000-0000-4000-8000-000000000002", json!({"accepted": true})),
        ];
        insta::assert_snapshot!(table(&servers));
    }

    #[test]
    fn clean_needs_acceptance_and_conditions_are_found_by_their_type() {
        let server = |accepted: bool| {
            let status = json!({ "isClean": true, "power": "off", "conditions": [
                {"type": "Ready", "status": "True"},
                {"type": "DisksWiped", "status": "False", "reason": "Wiping", "message": "sda 45 %"},
            ]});
            let spec = json!({ "accepted": accepted });
            Server { name: String::new(), uid: String::new(), spec, status }
        };
        assert!(server(true).is_clean() && server(true).is_off());
        assert!(!server(false).is_clean());
        assert_eq!(server(true).condition("DisksWiped").as_deref(), Some("False Wiping sda 45 %"));
        assert_eq!(server(true).condition("Ready").as_deref(), Some("True"));
        assert_eq!(server(true).condition("PowerCycle"), None);
    }
}
