//! Generates the client and the server of the machine API from Talos's own definitions, without a protoc on the machine.
//!
//! The definitions stay where they are: in the Go module of Talos, which `go mod download` brings into Go's cache. Its version
//! is that of the machinery in `image/controlplane/go.mod`, and its content the one that `talos.sum` names.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use prost_types::{DescriptorProto, FileDescriptorSet};

const MODULE: &str = "github.com/siderolabs/talos";
const MACHINERY: &str = "github.com/siderolabs/talos/pkg/machinery";
const GO_MOD: &str = "../../image/controlplane/go.mod";
const SUMS: &str = "talos.sum";
const SERVICE: &str = "MachineService";
/// The calls that the providers make.
const CALLS: [&str; 10] = [
    "Bootstrap",
    "EtcdForfeitLeadership",
    "EtcdLeaveCluster",
    "EtcdMemberList",
    "EtcdRemoveMemberByID",
    "EtcdStatus",
    "Events",
    "List",
    "ServiceList",
    "Version",
];
/// Messages that come inside of an `Any`.
const CARRIED: [&str; 1] = [".machine.SequenceEvent"];

fn main() -> Result<(), Box<dyn Error>> {
    for file in [GO_MOD, SUMS, "proto"] {
        println!("cargo:rerun-if-changed={file}");
    }
    let api = module(&version()?)?.join("api");
    let mut set = protox::compile(["machine/machine.proto"], [api.as_path(), Path::new("proto")])?;
    prune(&mut set);
    tonic_prost_build::configure().disable_comments(["."]).compile_fds(set)?;
    Ok(())
}

/// The version of the machinery that the control plane's program is built with.
fn version() -> Result<String, Box<dyn Error>> {
    let text = fs::read_to_string(GO_MOD).map_err(|error| format!("{GO_MOD}: {error}"))?;
    let found = text.lines().find_map(|line| {
        let mut words = line.trim().trim_start_matches("require ").split_whitespace();
        (words.next() == Some(MACHINERY)).then(|| words.next().map(str::to_owned)).flatten()
    });
    found.ok_or_else(|| format!("{GO_MOD} requires no {MACHINERY}").into())
}

/// The directory of the module in Go's cache, downloaded if it is not there.
fn module(version: &str) -> Result<PathBuf, Box<dyn Error>> {
    let module = format!("{MODULE}@{version}");
    let output = Command::new("go")
        .args(["mod", "download", "-json", &module])
        .env_remove("GOFLAGS")
        .current_dir(std::env::temp_dir())
        .output()
        .map_err(|error| {
            format!("failed to run `go mod download {module}`: {error}. The client of the Talos API is generated from the \
                     definitions in that Go module: install Go 1.26 (`make setup` looks for it)")
        })?;
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
    if !output.status.success() {
        let reason = format!("{}{}", text("Error"), String::from_utf8_lossy(&output.stderr));
        return Err(format!("failed to download {module}: {}", reason.trim()).into());
    }
    let found = format!("{MODULE} {version} {}", text("Sum"));
    let sums = fs::read_to_string(SUMS).map_err(|error| format!("{SUMS}: {error}"))?;
    if !sums.lines().any(|line| line == found) {
        return Err(format!("controllers/machineapi/{SUMS} does not have the line {found:?}").into());
    }
    Ok(text("Dir").into())
}

/// Leaves the calls that are made, and the messages that these need: the whole API is four times as much to compile.
fn prune(set: &mut FileDescriptorSet) {
    let mut needed: BTreeSet<String> = CARRIED.iter().map(|&name| name.to_owned()).collect();
    for file in &mut set.file {
        file.service.retain(|service| service.name() == SERVICE);
        for service in &mut file.service {
            service.method.retain(|method| CALLS.contains(&method.name()));
            let types = |method: &prost_types::MethodDescriptorProto| {
                [method.input_type().to_owned(), method.output_type().to_owned()]
            };
            needed.extend(service.method.iter().flat_map(types));
        }
    }
    loop {
        let before = needed.len();
        for file in &set.file {
            for message in &file.message_type {
                if needed.contains(&format!(".{}.{}", file.package(), message.name())) {
                    refer(message, &mut needed);
                }
            }
        }
        if needed.len() == before {
            break;
        }
    }
    for file in &mut set.file {
        let package = file.package().to_owned();
        if package.starts_with("google.protobuf") {
            continue;
        }
        file.message_type.retain(|message| needed.contains(&format!(".{package}.{}", message.name())));
        file.enum_type.retain(|one| needed.contains(&format!(".{package}.{}", one.name())));
        file.extension.clear();
        // It counts what was there before.
        file.source_code_info = None;
    }
}

/// Adds the types of all fields, those of nested messages included. A nested type needs the message that it is in.
fn refer(message: &DescriptorProto, needed: &mut BTreeSet<String>) {
    for field in &message.field {
        let name = field.type_name();
        let outermost = name.splitn(4, '.').take(3).collect::<Vec<_>>().join(".");
        needed.extend([name.to_owned(), outermost].into_iter().filter(|name| !name.is_empty()));
    }
    message.nested_type.iter().for_each(|nested| refer(nested, needed));
}
