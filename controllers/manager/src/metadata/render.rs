//! Makes a configuration by Talos's own library, patch by patch as upstream does.

use bloomery_api::metadata::failure::Failure;
use bloomery_api::metadata::label::label;
use bloomery_api::metadata::patches::{Change, Fault, Patch, Provenance, of_objects, sidero_link};
use bloomery_api::metadata::rendered::Rendered;
use bloomery_api::metadata::verdict::Verdict;
use bloomery_api::{Server, ServerClass};
use bloomery_talosconfig::{self as talosconfig, Client, Code, Level, Refusal, Secret};
use kube::ResourceExt;
use serde_json::Value;
use zeroize::Zeroizing;

/// What a configuration is made from.
pub struct Plan {
    /// The bootstrap data.
    pub bootstrap: Zeroizing<String>,
    pub server: Server,
    /// The class that the Server was taken from.
    pub class: Option<ServerClass>,
    /// The documents of SideroLink.
    pub documents: [Value; 3],
}

/// The configuration, or which patch is to blame. An error is one of the library's process: another try may succeed.
pub async fn render(talos: &Client, plan: &Plan) -> Result<Rendered, talosconfig::Error> {
    let Plan { bootstrap, server, class, documents } = plan;
    let patches = of_objects(class.as_ref(), server);
    let mut applied: Vec<Provenance> = Vec::new();
    let config = Secret::from(bootstrap.as_str());
    let config = match apply(talos, config, &patches, &mut applied).await? {
        Ok(config) => config,
        Err(failure) => return Ok(Rendered::failed(failure, applied)),
    };
    let own = match label(config.expose(), &server.name_any()) {
        Ok(label) => [label, sidero_link(documents)],
        Err(failure) => return Ok(Rendered::failed(failure, applied)),
    };
    let config = match apply(talos, config, &own, &mut applied).await? {
        Ok(config) => config,
        Err(failure) => return Ok(Rendered::failed(failure, applied)),
    };
    let validation = talos.validate(&config, Level::Node).await?;
    let verdict = Verdict::of(validation.valid, &validation.errors, &validation.load_error);
    Ok(Rendered { outcome: Ok((config.expose().to_owned(), verdict)), patches: applied })
}

/// All at once; where one fails, one by one, so that the first that fails is the one that upstream would name.
async fn apply(
    talos: &Client,
    config: Secret,
    patches: &[Patch],
    applied: &mut Vec<Provenance>,
) -> Result<Result<Secret, Failure>, talosconfig::Error> {
    if patches.is_empty() {
        return Ok(Ok(config));
    }
    let changes: Vec<talosconfig::Patch> = patches.iter().map(change).collect();
    match talos.patch(&config, &changes).await {
        Ok(config) => {
            applied.extend(patches.iter().map(|patch| patch.provenance.clone()));
            return Ok(Ok(config));
        }
        Err(error) if error.is_retryable() => return Err(error),
        Err(_) => {}
    }
    let mut config = config;
    for (patch, change) in patches.iter().zip(changes) {
        applied.push(patch.provenance.clone());
        config = match talos.patch(&config, &[change]).await {
            Ok(config) => config,
            Err(error) if error.is_retryable() => return Err(error),
            Err(error) => {
                let said = error.refusal().map_or_else(|| error.to_string(), |said| said.message.clone());
                return Ok(Err(patch.failure(fault(error.refusal()), &said)));
            }
        };
    }
    Ok(Ok(config))
}

fn change(patch: &Patch) -> talosconfig::Patch {
    match &patch.change {
        Change::Json6902(list) => talosconfig::Patch::Json6902(list.clone()),
        Change::Strategic(text) => talosconfig::Patch::strategic(text.as_str()),
    }
}

fn fault(refusal: Option<&Refusal>) -> Fault {
    match refusal.map(|refusal| refusal.code) {
        Some(Code::PatchLoad) => Fault::Load,
        Some(Code::Request | Code::Input | Code::PatchApply | Code::Panic | Code::TooLarge) | None => {
            Fault::Apply
        }
    }
}
