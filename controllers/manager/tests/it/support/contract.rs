//! What Cluster API's own getters read from an object.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Serialize;
use serde_json::{Value, json};

/// Names the program with the getters.
const VARIABLE: &str = "BLOOMERY_CLUSTER_API_CONTRACT";

/// `kind` is Cluster API's name of the contract: `InfrastructureCluster`, `InfrastructureMachine`, `Bootstrap`, `ControlPlane`;
/// `contract` its version. An absent field is null.
pub(crate) fn read(kind: &str, contract: &str, object: &impl Serialize) -> Value {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../out/cluster-api-contract");
    let path = std::env::var_os(VARIABLE).map_or_else(built, PathBuf::from);
    let mut child =
        Command::new(&path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap_or_else(|error| {
            let path = path.display();
            panic!("{path}: {error}: run `make out/cluster-api-contract`, or name the program in {VARIABLE}")
        });
    let request = json!({ "contract": contract, "kind": kind, "object": object });
    child.stdin.take().unwrap().write_all(request.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}
