//! A local repository for clusterctl: the three providers in the form for clusters with pods, and Cluster API's core.
//!
//! It is made from the same definitions, rights and webhooks as the image has. It must never hold an object that the
//! image's own form does not know, but for what pods need: their Deployments, Services and certificates.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_norway::{Mapping, Value};

use crate::cluster_api;
use crate::rootfs::manifests::yaml_files;
use crate::settings::Settings;
use crate::tree::{self, MODE_DATA};
use crate::yaml::{at, documents, text, text_of};

/// Where the definitions, the rights and webhooks, and this repository's own parts are, below the source.
const CRDS: &str = "controllers/api/crds";
const MANIFESTS: &str = "controllers/manager/manifests";
const PARTS: &str = "image/clusterctl";
/// The inventory that the image applies: it names the providers and their versions.
const INVENTORY: &str = "15-providers.yaml";
/// The repository, below the results.
const REPOSITORY: &str = "clusterctl";
/// The program with clusterctl in it, beside the repository.
const CONTROLPLANE: &str = "controlplane";
/// Service and certificate of each provider's webhooks.
const SERVICE: &str = "sidero-webhook-service";
const CERTIFICATE: &str = "sidero-serving-cert";
/// Where webhooks are in the image.
const ORIGIN: &str = "https://127.0.0.1:9445";
/// The contract of Cluster API that all of ours serve, besides the one before it.
const CONTRACT: &str = "v1beta2";
/// Upstream's own list of releases, beside Cluster API's manifest.
const CORE_METADATA: &str = "cluster-api-metadata.yaml";
/// Cluster API's image in the form for pods.
const CORE_IMAGE: &str = "registry.k8s.io/cluster-api/cluster-api-controller";

/// One of ours.
struct Provider {
    /// clusterctl's label, such as `infrastructure-sidero`; a directory of the repository.
    label: String,
    /// clusterctl's name and type.
    name: String,
    kind: String,
    version: String,
    namespace: String,
}

impl Provider {
    /// What its components file is called, and its name among the controllers.
    fn role(&self) -> Result<(&'static str, &'static str)> {
        Ok(match self.kind.as_str() {
            "InfrastructureProvider" => ("infrastructure-components.yaml", "infrastructure"),
            "BootstrapProvider" => ("bootstrap-components.yaml", "bootstrap"),
            "ControlPlaneProvider" => ("control-plane-components.yaml", "control-plane"),
            other => bail!("{INVENTORY} has a provider of type {other}"),
        })
    }

    /// Whether a definition of this group is its own.
    fn owns(&self, group: &str) -> bool {
        match self.kind.as_str() {
            "BootstrapProvider" => group == "bootstrap.cluster.x-k8s.io",
            "ControlPlaneProvider" => group == "controlplane.cluster.x-k8s.io",
            _ => ["infrastructure.cluster.x-k8s.io", "metal.sidero.dev", "bloomery.dev"].contains(&group),
        }
    }
}

/// Makes the repository anew in the directory of the results.
///
/// # Errors
/// When a part is missing or is not what it was.
pub fn write(settings: &Settings) -> Result<()> {
    let (target, new) = (settings.out.join(REPOSITORY), settings.out.join("clusterctl.new"));
    if new.exists() {
        fs::remove_dir_all(&new).context("failed to remove what an earlier run left")?;
    }
    let providers = providers(&settings.source)?;
    for provider in &providers {
        let directory = new.join(&provider.label).join(&provider.version);
        let (file, role) = provider.role()?;
        let components = components(settings, provider, role)
            .with_context(|| format!("failed to make the components of {}", provider.label))?;
        tree::write(&directory.join(file), components.as_bytes(), MODE_DATA)?;
        tree::write(&directory.join("metadata.yaml"), metadata(&provider.version)?.as_bytes(), MODE_DATA)?;
        if provider.kind == "InfrastructureProvider" {
            let template = read(&settings.source.join(PARTS).join("cluster-template.yaml"))?;
            tree::write(&directory.join("cluster-template.yaml"), template.as_bytes(), MODE_DATA)?;
        }
    }
    let version = cluster_api::version(&settings.source)?;
    let directory = new.join("cluster-api").join(&version);
    let core = core(&read(&settings.cluster_api)?, &version)?;
    tree::write(&directory.join("core-components.yaml"), core.as_bytes(), MODE_DATA)?;
    let series = read(&settings.cluster_api.with_file_name(CORE_METADATA))?;
    tree::write(&directory.join("metadata.yaml"), series.as_bytes(), MODE_DATA)?;
    let config = config(&target, &providers, &version)?;
    tree::write(&new.join("clusterctl.yaml"), config.as_bytes(), MODE_DATA)?;
    // clusterctl itself: the control plane's program, by the name that it is called by.
    std::os::unix::fs::symlink(Path::new("..").join(CONTROLPLANE), new.join(REPOSITORY))
        .context("failed to link clusterctl")?;
    if target.exists() {
        fs::remove_dir_all(&target).context("failed to remove the repository of before")?;
    }
    fs::rename(&new, &target).context("failed to put the repository in place")?;
    println!("clusterctl: {}", target.join("clusterctl.yaml").display());
    Ok(())
}

/// The providers that the image's inventory names.
fn providers(source: &Path) -> Result<Vec<Provider>> {
    let documents = documents(&read(&source.join(MANIFESTS).join(INVENTORY))?)?;
    let mut found = Vec::new();
    for document in documents.iter().filter(|document| text(document, &["kind"]) == Some("Provider")) {
        let field = |path: &[&str]| {
            text(document, path).map(str::to_owned).with_context(|| format!("a Provider has no {path:?}"))
        };
        found.push(Provider {
            label: field(&["metadata", "name"])?,
            name: field(&["providerName"])?,
            kind: field(&["type"])?,
            version: field(&["version"])?,
            namespace: field(&["metadata", "namespace"])?,
        });
    }
    ensure!(!found.is_empty(), "{INVENTORY} names no provider");
    Ok(found)
}

/// All objects of one provider.
fn components(settings: &Settings, provider: &Provider, role: &str) -> Result<String> {
    let infrastructure = provider.kind == "InfrastructureProvider";
    let parts = ["provider.yaml", "boot-services.yaml"];
    let parts = parts.iter().take(if infrastructure { 2 } else { 1 });
    let texts =
        parts.map(|part| read(&settings.source.join(PARTS).join(part))).collect::<Result<Vec<_>>>()?;
    let filled = texts
        .join("---\n")
        .replace("@NAMESPACE@", &provider.namespace)
        .replace("@LABEL@", &provider.label)
        .replace("@PROVIDER@", role)
        .replace(
            "@MODE@",
            if infrastructure {
                "- --extra-ca-file=/var/lib/bloomery/assets/ca.pem"
            } else {
                "- --webhooks-only"
            },
        )
        .replace("@IMAGE@", &format!("${{BLOOMERY_IMAGE:=localhost/bloomery:{}}}", settings.version));
    let mut objects = documents(&filled)?;
    for path in yaml_files(&settings.source.join(CRDS))? {
        for mut object in documents(&read(&path)?)? {
            if text(&object, &["spec", "group"]).is_some_and(|group| provider.owns(group)) {
                if let Some(config) = at(&mut object, &["spec", "conversion", "webhook", "clientConfig"]) {
                    reach_by_service(config, &provider.namespace)?;
                    inject(&mut object, &provider.namespace)?;
                }
                objects.push(object);
            }
        }
    }
    for path in yaml_files(&settings.source.join(MANIFESTS))? {
        // The inventory is clusterctl's work there, and in a cluster with pods it has all of its commands.
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if [INVENTORY, "26-clusterctl.yaml"].contains(&name) {
            continue;
        }
        // Policies name users.
        let accounts = format!("'system:serviceaccount:{}:", provider.namespace);
        for object in documents(&read(&path)?.replace("'bloomery:", &accounts))? {
            objects.extend(manifest(object, provider)?);
        }
    }
    text_of(&objects)
}

/// An object of the image's manifests as this provider has it; none where it is another's or the image's alone.
fn manifest(mut object: Value, provider: &Provider) -> Result<Option<Value>> {
    let infrastructure = provider.kind == "InfrastructureProvider";
    let kind = text(&object, &["kind"]).unwrap_or_default().to_owned();
    let name = text(&object, &["metadata", "name"]).unwrap_or_default().to_owned();
    match kind.as_str() {
        // It stands among the parts; administrators are that cluster's own.
        "Namespace" => return Ok(None),
        _ if name == "bloomery:admins" => return Ok(None),
        "ClusterRole" | "ClusterRoleBinding" | "Role" | "RoleBinding" => {
            // The others answer webhooks, and ask nothing of the API server.
            if !infrastructure {
                return Ok(None);
            }
            for subject in
                at(&mut object, &["subjects"]).and_then(Value::as_sequence_mut).into_iter().flatten()
            {
                *subject = service_account(subject, &provider.namespace)?;
            }
        }
        "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration" => {
            let webhooks = at(&mut object, &["webhooks"]).and_then(Value::as_sequence_mut);
            let webhooks = webhooks.context("a webhook configuration has no webhooks")?;
            webhooks.retain(|webhook| judged(webhook).iter().any(|group| provider.owns(group)));
            if webhooks.is_empty() {
                return Ok(None);
            }
            for webhook in webhooks {
                let config = webhook.get_mut("clientConfig").context("a webhook has no clientConfig")?;
                reach_by_service(config, &provider.namespace)?;
            }
            inject(&mut object, &provider.namespace)?;
            if !infrastructure {
                rename(&mut object, &provider.namespace)?;
            }
        }
        _ if !infrastructure => return Ok(None),
        _ => {}
    }
    Ok(Some(object))
}

/// The groups that a webhook is asked about.
fn judged(webhook: &Value) -> Vec<&str> {
    let rules = webhook.get("rules").and_then(Value::as_sequence).into_iter().flatten();
    let groups = rules.filter_map(|rule| rule.get("apiGroups")?.as_sequence()).flatten();
    groups.filter_map(Value::as_str).collect()
}

/// A distinct name: webhook configurations have no namespace.
fn rename(object: &mut Value, prefix: &str) -> Result<()> {
    let name = at(object, &["metadata", "name"]).context("an object has no name")?;
    let old = name.as_str().context("a name is no text")?;
    *name = format!("{prefix}-{old}").into();
    Ok(())
}

/// Certificate users of the image are service accounts here.
fn service_account(subject: &Value, namespace: &str) -> Result<Value> {
    let user = text(subject, &["name"]).and_then(|name| name.strip_prefix("bloomery:"));
    let user = user.with_context(|| format!("a binding is for {subject:?}"))?;
    let fields = [("kind", "ServiceAccount"), ("name", user), ("namespace", namespace)];
    Ok(Value::Mapping(fields.into_iter().map(|(key, value)| (key.into(), value.into())).collect()))
}

/// Replaces the address on the loopback by the provider's Service.
fn reach_by_service(config: &mut Value, namespace: &str) -> Result<()> {
    let path = text(config, &["url"]).and_then(|url| url.strip_prefix(ORIGIN));
    let path = path.with_context(|| format!("a webhook is not at {ORIGIN}"))?.to_owned();
    let fields = [("name", SERVICE), ("namespace", namespace), ("path", path.as_str())];
    let service = fields.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
    let mut by_service = Mapping::new();
    by_service.insert("service".into(), Value::Mapping(service));
    *config = Value::Mapping(by_service);
    Ok(())
}

/// Has cert-manager fill in the certificate's authority.
fn inject(object: &mut Value, namespace: &str) -> Result<()> {
    let metadata =
        at(object, &["metadata"]).and_then(Value::as_mapping_mut).context("an object has no metadata")?;
    let annotations = metadata.entry("annotations".into()).or_insert_with(|| Mapping::new().into());
    let annotations = annotations.as_mapping_mut().context("annotations are no mapping")?;
    annotations.insert("cert-manager.io/inject-ca-from".into(), format!("{namespace}/{CERTIFICATE}").into());
    Ok(())
}

/// Cluster API's rendered manifest with the image of its release.
fn core(rendered: &str, version: &str) -> Result<String> {
    let mut objects = documents(rendered)?;
    let mut images = 0;
    for object in objects.iter_mut().filter(|object| text(object, &["kind"]) == Some("Deployment")) {
        let containers =
            at(object, &["spec", "template", "spec", "containers"]).and_then(Value::as_sequence_mut);
        for container in containers.into_iter().flatten() {
            if let Some(image) = container.get_mut("image") {
                *image = format!("{CORE_IMAGE}:{version}").into();
                images += 1;
            }
        }
    }
    ensure!(images == 1, "Cluster API's manifest has {images} containers, one was expected");
    text_of(&objects)
}

/// The series of a release and its contract, as clusterctl asks for them.
fn metadata(version: &str) -> Result<String> {
    let mut numbers = version.trim_start_matches('v').split('.');
    let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) else {
        bail!("{version} is no version");
    };
    Ok(format!(
        "apiVersion: clusterctl.cluster.x-k8s.io/v1alpha3\nkind: Metadata\nreleaseSeries:\n- major: {major}\n  \
         minor: {minor}\n  contract: {CONTRACT}\n"
    ))
}

/// clusterctl's own settings. Its addresses of files must be absolute.
fn config(repository: &Path, providers: &[Provider], core: &str) -> Result<String> {
    let root = repository.to_str().context("the repository's path is no text")?;
    let mut out = format!(
        "# For clusterctl --config: providers come from this directory, not from the Internet.\nproviders:\n\
         - name: cluster-api\n  type: CoreProvider\n  url: file://{root}/cluster-api/{core}/core-components.yaml\n"
    );
    for provider in providers {
        let Provider { label, name, kind, version, .. } = provider;
        let (file, _) = provider.role()?;
        let entry =
            format!("- name: {name}\n  type: {kind}\n  url: file://{root}/{label}/{version}/{file}\n");
        out.push_str(&entry);
    }
    Ok(out)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(kind: &str) -> Provider {
        Provider {
            label: "bootstrap-talos".into(),
            name: "talos".into(),
            kind: kind.into(),
            version: "v0.6.12".into(),
            namespace: "cabpt-system".into(),
        }
    }

    fn object(text: &str) -> Value {
        documents(text).unwrap().remove(0)
    }

    #[test]
    fn webhooks_are_reached_by_the_service_and_trusted_through_cert_manager() {
        let text = "kind: ValidatingWebhookConfiguration\nmetadata: {name: w}\nwebhooks:\n\
                    - {name: a, clientConfig: {url: 'https://127.0.0.1:9445/validate-a', caBundle: x}, \
                    rules: [{apiGroups: [bootstrap.cluster.x-k8s.io]}]}\n\
                    - {name: b, clientConfig: {url: 'https://127.0.0.1:9445/b'}, rules: [{apiGroups: [metal.sidero.dev]}]}\n";
        let made = manifest(object(text), &provider("BootstrapProvider")).unwrap().unwrap();
        let made = serde_norway::to_string(&made).unwrap();
        for expected in ["path: /validate-a", "namespace: cabpt-system", "cabpt-system/sidero-serving-cert"] {
            assert!(made.contains(expected), "{expected} is not in\n{made}");
        }
        for gone in ["caBundle", "127.0.0.1", "name: b"] {
            assert!(!made.contains(gone), "{gone} is still in\n{made}");
        }
        let elsewhere = text.replace("127.0.0.1:9445", "example.com");
        assert!(manifest(object(&elsewhere), &provider("BootstrapProvider")).is_err());
    }

    #[test]
    fn rights_are_those_of_the_one_program_with_the_controllers() {
        let binding = "kind: ClusterRoleBinding\nmetadata: {name: 'bloomery:controllers'}\n\
                       subjects: [{kind: User, name: 'bloomery:controllers'}]\n";
        assert!(manifest(object(binding), &provider("BootstrapProvider")).unwrap().is_none());
        let made = manifest(object(binding), &provider("InfrastructureProvider")).unwrap().unwrap();
        let made = serde_norway::to_string(&made).unwrap();
        assert!(
            made.contains("kind: ServiceAccount\n  name: controllers\n  namespace: cabpt-system"),
            "{made}"
        );
        let foreign = binding.replace("User, name: 'bloomery:", "Group, name: 'others:");
        assert!(manifest(object(&foreign), &provider("InfrastructureProvider")).is_err());
    }

    #[test]
    fn releases_have_a_series() {
        assert!(metadata("v0.6.12").unwrap().contains("- major: 0\n  minor: 6\n  contract: v1beta2"));
        assert!(metadata("6").is_err());
    }

    #[test]
    fn the_core_has_the_image_of_its_release() {
        let deployment =
            "kind: Deployment\nspec: {template: {spec: {containers: [{image: 'staging:main'}]}}}\n";
        assert!(core(deployment, "v1.2.3").unwrap().contains(&format!("image: {CORE_IMAGE}:v1.2.3")));
        assert!(core("kind: Namespace\n", "v1.2.3").is_err());
    }
}
