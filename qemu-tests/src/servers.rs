//! `Server` objects as any client of the API sees them: by their wire form, not by the product's types.
//!
//! Read only.

use anyhow::{Context, Result};
use kube::{
    Api, Client,
    api::ListParams,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::Value;
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

/// All servers, sorted by name.
///
/// # Errors
/// The API does not answer, or does not know the kind.
pub async fn list(client: &Client) -> Result<Vec<Server>> {
    let kind = GroupVersionKind::gvk("metal.sidero.dev", "v1alpha2", "Server");
    let api =
        Api::<DynamicObject>::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&kind, "servers"));
    let found = api.list(&ListParams::default()).await.context("failed to list servers")?;
    let mut servers: Vec<Server> = found
        .items
        .into_iter()
        .map(|object| Server {
            name: object.metadata.name.unwrap_or_default(),
            uid: object.metadata.uid.unwrap_or_default(),
            spec: object.data.get("spec").cloned().unwrap_or_default(),
        })
        .collect();
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
        let server = |name: &str, spec: Value| Server { name: name.to_owned(), uid: String::new(), spec };
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
}
