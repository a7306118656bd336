//! What upstream's bootstrap provider (CABPT 0.6.12) made of the same objects, as far as it is generation alone. The mapping of
//! objects to requests is that of a provider.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bloomery_talosconfig::{Client, Error, Generate, Patch, Secret, SecretsBundle, endpoint};
use serde_norway::Value;

use crate::support::{assert_none, cases, client, documents, golden, read};

/// Cases that are about objects and their order, not about the text that is generated.
const NOT_GENERATION: [(&str, &str); 4] = [
    ("no-owner", "the provider waits"),
    ("owner-has-datasecret", "the provider generates nothing"),
    ("paused-cluster", "the provider waits"),
    ("fresh-secrets", "the secrets are new, and so every text is another"),
];

/// Cases in which upstream's result is a defect, and what comes in its place.
const OTHERWISE: [(&str, Otherwise); 2] = [
    // Upstream writes both kinds of host names, which no node takes.
    ("hostname-machine-v1.12.0-alpha.0", Otherwise::Like("hostname-machine-v1.12.0-beta.0")),
    // Upstream panics.
    ("none-v1alpha1-missing", Otherwise::Error("config: the configuration has no v1alpha1 document")),
];

#[derive(Clone, Copy)]
enum Otherwise {
    /// The result of another case.
    Like(&'static str),
    Error(&'static str),
}

/// The Kubernetes version of configurations that ask for none follows the library: 1.36.0 with CABPT 0.6.12.
const DEFAULT_KUBERNETES: (&str, &str) = (":v1.36.3", ":v1.36.0");

struct Objects(Vec<Value>);

impl Objects {
    fn of(case: &str) -> Self {
        Self(documents(&read(golden().join("cabpt").join(case).join("input.yaml"))))
    }

    fn find(&self, kind: &str) -> Option<&Value> {
        self.0.iter().find(|one| one["kind"] == *kind)
    }

    fn get(&self, kind: &str) -> &Value {
        self.find(kind).unwrap_or_else(|| panic!("there is no {kind}"))
    }

    /// The Machine, or what a `MachinePool` has in its place.
    fn owner_spec(&self) -> &Value {
        match self.find("Machine") {
            Some(machine) => &machine["spec"],
            None => &self.get("MachinePool")["spec"]["template"]["spec"],
        }
    }

    fn secrets(&self) -> SecretsBundle {
        let data = |key: &str| -> Option<Secret> {
            let secret = self.0.iter().find(|one| text(&one["metadata"]["name"]).ends_with("-talos"))?;
            let decoded = STANDARD.decode(secret["data"][key].as_str()?).unwrap();
            Some(String::from_utf8(decoded).unwrap().into())
        };
        match data("bundle") {
            Some(bundle) => bundle.into(),
            None => SecretsBundle::Sections {
                certs: data("certs").unwrap_or_default(),
                kube_secrets: data("kubeSecrets").unwrap_or_default(),
                trustd_info: data("trustdInfo").unwrap_or_default(),
            },
        }
    }

    fn patches(&self) -> Vec<Patch> {
        let spec = &self.get("TalosConfig")["spec"];
        let mut patches = Vec::new();
        let operations = spec["configPatches"].as_sequence().filter(|list| !list.is_empty());
        patches.extend(operations.map(|list| Patch::Json6902(serde_json::to_value(list).unwrap())));
        let texts = spec["strategicPatches"].as_sequence().into_iter().flatten();
        patches.extend(texts.map(|one| Patch::strategic(text(one))));
        patches
    }

    fn hostname(&self) -> Option<String> {
        let machine = self.find("Machine")?;
        match text(&self.get("TalosConfig")["spec"]["hostname"]["source"]) {
            "" => None,
            "MachineName" => Some(text(&machine["metadata"]["name"]).to_owned()),
            "InfrastructureName" => Some(text(&machine["spec"]["infrastructureRef"]["name"]).to_owned()),
            _ => Some(String::new()),
        }
    }

    fn generate(&self) -> Generate {
        let (cluster, spec) = (self.get("Cluster"), &self.get("TalosConfig")["spec"]);
        let at = &cluster["spec"]["controlPlaneEndpoint"];
        let port = at["port"].as_u64().unwrap_or_default().try_into().unwrap();
        let network = &cluster["spec"]["clusterNetwork"];
        Generate {
            kubernetes_version: text(&self.owner_spec()["version"]).into(),
            talos_version: text(&spec["talosVersion"]).into(),
            dns_domain: text(&network["serviceDomain"]).into(),
            pod_subnets: list(&network["pods"]),
            service_subnets: list(&network["services"]),
            hostname: self.hostname(),
            patches: self.patches(),
            ..Generate::new(
                text(&spec["generateType"]),
                text(&cluster["metadata"]["name"]),
                endpoint(text(&at["host"]), port),
                self.secrets(),
            )
        }
    }

    async fn configuration(&self, client: &Client) -> Result<String, Error> {
        let spec = &self.get("TalosConfig")["spec"];
        let config = if text(&spec["generateType"]) == "none" {
            let data = Secret::from(text(&spec["data"]));
            client.inspect_config(&data).await?;
            client.normalize(&data, &self.patches()).await?
        } else {
            client.generate(&self.generate()).await?
        };
        // What the provider of Packet needs stands before it.
        let packet = text(&self.owner_spec()["infrastructureRef"]["kind"]).starts_with("Packet");
        Ok(if packet { "#!talos\n" } else { "" }.to_owned() + config.expose())
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Of a network; an empty list is one.
fn list(network: &Value) -> Option<Vec<String>> {
    let blocks = network.as_mapping()?.get("cidrBlocks");
    Some(blocks.and_then(|list| serde_norway::from_value(list.clone()).ok()).unwrap_or_default())
}

/// The data secret that upstream wrote, if it wrote one.
fn data_secret(case: &str) -> Option<String> {
    let entries = std::fs::read_dir(golden().join("cabpt").join(case)).unwrap();
    let mut names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let name = names.find(|name| name.ends_with("-bootstrap-data.value"))?;
    Some(read(golden().join("cabpt").join(case).join(name)))
}

/// The error of the first pass, without what the provider puts before the library's words.
fn upstreams_error(case: &str) -> String {
    let result = read(golden().join("cabpt").join(case).join("result.txt"));
    let first = result.split("# pass 2").next().unwrap();
    let error = first.split_once("error=").map_or("", |(_, error)| error);
    let prefixes = ["failure loading StrategicPatch: ", "failure applying StrategicPatches: "];
    prefixes.iter().fold(error.trim(), |text, prefix| text.strip_prefix(prefix).unwrap_or(text)).to_owned()
}

async fn difference(client: &Client, case: &str) -> Option<String> {
    let otherwise = OTHERWISE.iter().find(|(name, _)| *name == case).map(|(_, otherwise)| *otherwise);
    let expected = match otherwise {
        Some(Otherwise::Like(other)) => data_secret(other),
        Some(Otherwise::Error(_)) => None,
        None => data_secret(case),
    };
    match (Objects::of(case).configuration(client).await, expected) {
        (Ok(made), Some(expected)) => {
            let made = made.replace(DEFAULT_KUBERNETES.0, DEFAULT_KUBERNETES.1);
            (made != expected).then(|| format!("{case}: another result:\n{made}"))
        }
        (Ok(_), None) => Some(format!("{case}: no error")),
        (Err(error), Some(_)) => Some(format!("{case}: {error}")),
        (Err(error), None) => {
            let refusal = error.refusal().unwrap();
            let (said, expected) = match otherwise {
                Some(Otherwise::Error(text)) => (refusal.to_string(), text.to_owned()),
                _ => (refusal.message.trim().to_owned(), upstreams_error(case)),
            };
            (said != expected).then(|| format!("{case}: {said} for {expected}"))
        }
    }
}

#[tokio::test]
async fn configurations_are_those_of_upstreams_provider_octet_by_octet() {
    let client = client();
    let mut differences = Vec::new();
    let cases = cases("cabpt");
    assert!(cases.len() >= 60, "{}", cases.len());
    for case in &cases {
        // An empty text is refused by the provider, before it asks.
        let empty = case == "none-empty";
        if !empty && !NOT_GENERATION.iter().any(|(name, _)| name == case) {
            differences.extend(difference(&client, case).await);
        }
    }
    assert_none(&differences);
}

#[tokio::test]
async fn the_kubernetes_authority_is_what_upstreams_provider_writes() {
    let client = client();
    for case in ["base-v1.13-controlplane", "legacy-secret", "none-controlplane"] {
        let objects = Objects::of(case);
        let file =
            |name: &str| read(golden().join("cabpt").join(case).join(format!("secret.held-ca.{name}")));
        let ca = if case == "none-controlplane" {
            let data = Secret::from(text(&objects.get("TalosConfig")["spec"]["data"]));
            client.inspect_config(&data).await.unwrap().kubernetes_ca
        } else {
            client.inspect_secrets(&objects.secrets()).await.unwrap().kubernetes
        };
        let ca = ca.unwrap();
        assert_eq!((ca.crt, ca.key.expose()), (file("tls.crt"), file("tls.key").as_str()), "{case}");
    }
}

#[tokio::test]
async fn a_talosconfig_is_what_upstreams_provider_writes_but_for_its_own_key() {
    let client = client();
    for case in ["base-v1.13-controlplane", "legacy-secret", "aescbc-bundle-v1.13"] {
        let path = golden().join("cabpt").join(case).join("secret.held-talosconfig.talosconfig");
        let made = client.talosconfig(&Objects::of(case).secrets(), "held", &[]).await.unwrap();
        let without_identity = |text: &str| {
            let mut document = documents(text).remove(0);
            for key in ["crt", "key"] {
                document["contexts"]["held"][key] = Value::from("");
            }
            document
        };
        assert_eq!(without_identity(made.expose()), without_identity(&read(path)), "{case}");
    }
}
