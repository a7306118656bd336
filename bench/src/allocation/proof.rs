//! That each MetalMachine has one Server, and each Server one MetalMachine.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::ensure;
use kube::ResourceExt as _;
use kube::core::DynamicObject;
use serde::{Deserialize, Serialize};

/// What the API server has at the end.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Proof {
    /// MetalMachine and the Server that it names.
    pub(super) machines: BTreeMap<String, Option<String>>,
    /// ServerBinding, which has the Server's name, and the MetalMachine that it is for.
    pub(super) bindings: BTreeMap<String, Option<String>>,
}

impl Proof {
    /// Of the objects.
    pub(super) fn of(machines: &[DynamicObject], bindings: &[DynamicObject]) -> Self {
        let named = |object: &DynamicObject, field: &str| {
            let name = object.data["spec"][field]["name"].as_str().map(str::to_owned);
            (object.name_any(), name)
        };
        Self {
            machines: machines.iter().map(|machine| named(machine, "serverRef")).collect(),
            bindings: bindings.iter().map(|binding| named(binding, "metalMachineRef")).collect(),
        }
    }

    /// Fails unless there are so many pairs and nothing else.
    pub(super) fn check(&self, machines: u32) -> anyhow::Result<()> {
        let count = usize::try_from(machines)?;
        ensure!(
            self.machines.len() == count && self.bindings.len() == count,
            "failed to find {count} pairs: {} MetalMachines, {} ServerBindings",
            self.machines.len(),
            self.bindings.len()
        );
        let mut given = BTreeSet::new();
        for (machine, server) in &self.machines {
            let Some(server) = server else { anyhow::bail!("MetalMachine {machine} has no Server") };
            ensure!(given.insert(server), "Server {server} was given twice, to {machine} as well");
            let bound = self.bindings.get(server).and_then(Option::as_deref);
            ensure!(
                bound == Some(machine),
                "Server {server} of MetalMachine {machine} is bound to {}",
                bound.unwrap_or("nobody")
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(machines: &[(&str, Option<&str>)], bindings: &[(&str, &str)]) -> Proof {
        let text = |text: &str| text.to_owned();
        Proof {
            machines: machines.iter().map(|(name, server)| (text(name), server.map(text))).collect(),
            bindings: bindings.iter().map(|(name, machine)| (text(name), Some(text(machine)))).collect(),
        }
    }

    #[test]
    fn only_pairs_pass() {
        let pairs = [("a", "m"), ("b", "n")];
        let table = [
            (proof(&[("m", Some("a")), ("n", Some("b"))], &pairs), ""),
            (proof(&[("m", Some("a"))], &pairs), "2 pairs"),
            (proof(&[("m", Some("a")), ("n", Some("b"))], &pairs[..1]), "2 pairs"),
            (proof(&[("m", Some("a")), ("n", None)], &pairs), "n has no Server"),
            (proof(&[("m", Some("a")), ("n", Some("a"))], &pairs), "a was given twice"),
            (proof(&[("m", Some("b")), ("n", Some("a"))], &pairs), "b of MetalMachine m is bound to n"),
            (proof(&[("m", Some("c")), ("n", Some("b"))], &pairs), "bound to nobody"),
        ];
        for (proof, problem) in table {
            let said = proof.check(2).map_or_else(|error| error.to_string(), |()| String::new());
            assert!(said.contains(problem) && said.is_empty() == problem.is_empty(), "{said}: {proof:?}");
        }
    }
}
