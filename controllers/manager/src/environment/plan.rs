//! What to say about an Environment: a pure function of it and of what was found.
//!
//! Never says True of an asset that was not looked at just now.

use bloomery_api::Environment;
use bloomery_api::condition::ConditionStatus;
use bloomery_api::environment::{AssetCondition, EnvironmentStatus, READY};
use kube::runtime::events::EventType;

use super::assets::{Asset, Finding};
use crate::reconcile::Notice;

/// What a reconcile changes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    /// The status to write, if it changes.
    pub(super) status: Option<EnvironmentStatus>,
    /// Events to record once the status is written.
    pub(super) notices: Vec<Notice>,
}

/// Plans one reconcile.
pub(super) fn plan(environment: &Environment, assets: &[Asset]) -> Plan {
    let wanted = EnvironmentStatus { conditions: assets.iter().map(condition).collect() };
    if environment.status.as_ref() == Some(&wanted) {
        return Plan { status: None, notices: Vec::new() };
    }
    let before = environment.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let notices = assets
        .iter()
        .zip(&wanted.conditions)
        .filter(|(_, condition)| !before.contains(condition))
        .filter_map(|(asset, _)| notice(asset))
        .collect();
    Plan { status: Some(wanted), notices }
}

fn condition(asset: &Asset) -> AssetCondition {
    let status = match asset.finding {
        Finding::Verified => ConditionStatus::True,
        Finding::Missing | Finding::Empty | Finding::Mismatch { .. } => ConditionStatus::False,
    };
    AssetCondition { url: asset.url.clone(), sha512: asset.sha512.clone(), status, type_: READY.to_owned() }
}

/// A condition of an asset has no place for a text, so an event carries it.
fn notice(asset: &Asset) -> Option<Notice> {
    let Asset { file, url, sha512, finding } = asset;
    let message = match finding {
        Finding::Verified => return None,
        Finding::Missing => format!("Asset {file} of {url} is not here."),
        Finding::Empty => format!("Asset {file} of {url} is empty."),
        Finding::Mismatch { actual } => {
            format!("Asset {file} of {url} has SHA-512 {actual} instead of {sha512}.")
        }
    };
    Some(Notice { type_: EventType::Warning, reason: "Environment Assets", message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bloomery_api::EnvironmentSpec;

    fn environment() -> Environment {
        let mut environment = Environment::new("e", EnvironmentSpec::default());
        environment.spec.kernel.url = "k".to_owned();
        environment.spec.initrd.url = "i".to_owned();
        environment
    }

    fn assets(kernel: Finding, initrd: Finding) -> [Asset; 2] {
        [("vmlinuz", "k", kernel), ("initramfs.xz", "i", initrd)].map(|(file, url, finding)| Asset {
            file,
            url: url.to_owned(),
            sha512: String::new(),
            finding,
        })
    }

    #[test]
    fn ready_needs_both_files_and_follows_them() {
        let mut environment = environment();
        let table = [
            (Finding::Missing, Finding::Missing, false, 2),
            (Finding::Verified, Finding::Missing, false, 0),
            (Finding::Verified, Finding::Verified, true, 0),
            (Finding::Verified, Finding::Mismatch { actual: "0".to_owned() }, false, 1),
            (Finding::Empty, Finding::Verified, false, 1),
        ];
        for (kernel, initrd, ready, notices) in table {
            let plan = plan(&environment, &assets(kernel.clone(), initrd.clone()));
            environment.status = plan.status;
            assert_eq!(environment.is_ready(), ready, "{kernel:?} {initrd:?}");
            assert_eq!(plan.notices.len(), notices, "{kernel:?} {initrd:?}");
        }
    }

    #[test]
    fn nothing_is_written_or_announced_twice() {
        let mut environment = environment();
        let found = assets(Finding::Missing, Finding::Verified);
        environment.status = plan(&environment, &found).status;
        assert_eq!(plan(&environment, &found), Plan { status: None, notices: Vec::new() });
    }

    #[test]
    fn a_status_for_another_url_is_replaced() {
        let mut environment = environment();
        environment.status = plan(&environment, &assets(Finding::Verified, Finding::Verified)).status;
        environment.spec.kernel.url = "new".to_owned();
        assert!(!environment.is_ready());
        let mut found = assets(Finding::Missing, Finding::Verified);
        found[0].url = "new".to_owned();
        environment.status = plan(&environment, &found).status;
        assert!(!environment.is_ready());
        assert_eq!(environment.status.unwrap().conditions.len(), 2);
    }
}
