//! What a machine of a template has at least: an autoscaler asks before there is a node.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::arch::Arch;
use crate::hardware::{ComputeInformation, MemoryInformation};
use crate::metal_machine_template::{MetalMachineTemplateStatus, NodeInfo};
use crate::server::{ARCH_LABEL, Server};

/// Talos is Linux.
const OPERATING_SYSTEM: &str = "linux";

/// The status of a template whose machines get one of these Servers. What a Server does not tell is not counted.
pub fn template_status<'a>(servers: impl IntoIterator<Item = &'a Server>) -> MetalMachineTemplateStatus {
    let (mut cpu, mut memory, mut architectures) = (None::<i64>, None::<i64>, BTreeSet::new());
    for server in servers {
        let hardware = server.spec.hardware.as_ref();
        let threads = hardware.and_then(|hardware| hardware.compute.as_ref()).and_then(threads);
        let size = hardware.and_then(|hardware| hardware.memory.as_ref()).and_then(mebibytes);
        cpu = least(cpu, threads);
        memory = least(memory, size);
        architectures.insert(architecture(server));
    }
    let mut capacity = BTreeMap::new();
    if let Some(cpu) = cpu {
        capacity.insert("cpu".to_owned(), Quantity(cpu.to_string()));
    }
    if let Some(memory) = memory {
        capacity.insert("memory".to_owned(), Quantity(format!("{memory}Mi")));
    }
    let node_info = match (architectures.len(), architectures.first()) {
        (0, _) | (_, None) => NodeInfo::default(),
        (1, Some(only)) => node_info(only),
        (_, Some(_)) => node_info(""),
    };
    MetalMachineTemplateStatus { capacity, node_info }
}

fn node_info(architecture: &str) -> NodeInfo {
    NodeInfo { architecture: architecture.to_owned(), operating_system: OPERATING_SYSTEM.to_owned() }
}

fn least(so_far: Option<i64>, found: Option<i64>) -> Option<i64> {
    match (so_far, found) {
        (Some(so_far), Some(found)) => Some(so_far.min(found)),
        (so_far, found) => so_far.or(found),
    }
}

fn architecture(server: &Server) -> &'static str {
    let label = server.metadata.labels.as_ref().and_then(|labels| labels.get(ARCH_LABEL));
    Arch::from_query(label.map_or("", String::as_str)).as_str()
}

/// Hardware threads, or cores where threads are not told.
fn threads(compute: &ComputeInformation) -> Option<i64> {
    let processors = &compute.processors;
    let told = [
        i64::from(compute.total_thread_count),
        processors.iter().map(|processor| i64::from(processor.thread_count)).sum(),
        i64::from(compute.total_core_count),
        processors.iter().map(|processor| i64::from(processor.core_count)).sum(),
    ];
    told.into_iter().find(|count| *count > 0)
}

/// MiB of memory: SMBIOS's MB are binary.
fn mebibytes(memory: &MemoryInformation) -> Option<i64> {
    let modules: i64 = memory.modules.iter().map(|module| i64::from(module.size)).sum();
    if modules > 0 {
        return Some(modules);
    }
    let (number, unit) = memory.total_size.trim().split_once(' ')?;
    let factor = match unit {
        "MB" => 1,
        "GB" => 1024,
        "TB" => 1024 * 1024,
        _ => return None,
    };
    number.parse::<i64>().ok().and_then(|number| number.checked_mul(factor)).filter(|size| *size > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn server(hardware: &Value, arch: Option<&str>) -> Server {
        let labels = arch.map(|arch| json!({ ARCH_LABEL: arch }));
        serde_json::from_value(json!({ "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Server",
            "metadata": { "name": "a", "labels": labels }, "spec": { "accepted": true, "hardware": hardware } }))
        .unwrap()
    }

    #[test]
    fn the_least_of_each_resource_counts_and_what_is_not_told_does_not() {
        let big = json!({ "compute": { "totalThreadCount": 32 }, "memory": { "totalSize": "64 GB" } });
        let small = json!({ "compute": { "processors": [{ "threadCount": 4 }, { "threadCount": 4 }] },
            "memory": { "totalSize": "64 GB", "modules": [{ "size": 8192 }, { "size": 8192 }] } });
        let cores = json!({ "compute": { "totalCoreCount": 12 }, "memory": { "totalSize": "lots" } });
        let silent = json!({});
        let status = |hardware: &[&Value], archs: &[Option<&str>]| {
            let servers: Vec<_> =
                hardware.iter().zip(archs.iter().cycle()).map(|(h, a)| server(h, *a)).collect();
            serde_json::to_value(template_status(&servers)).unwrap()
        };
        let amd64 = json!({ "architecture": "amd64", "operatingSystem": "linux" });
        assert_eq!(
            status(&[&big], &[None]),
            json!({ "capacity": { "cpu": "32", "memory": "65536Mi" }, "nodeInfo": amd64 })
        );
        assert_eq!(
            status(&[&big, &small, &silent], &[None]),
            json!({ "capacity": { "cpu": "8", "memory": "16384Mi" }, "nodeInfo": amd64 })
        );
        assert_eq!(
            status(&[&cores], &[Some("arm64")]),
            json!({ "capacity": { "cpu": "12" },
            "nodeInfo": { "architecture": "arm64", "operatingSystem": "linux" } })
        );
        assert_eq!(
            status(&[&silent, &silent], &[None, Some("arm64")]),
            json!({ "nodeInfo": { "operatingSystem": "linux" } }),
            "architectures differ"
        );
        assert_eq!(status(&[], &[None]), json!({}));
    }
}
