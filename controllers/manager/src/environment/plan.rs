//! What to say about an Environment: a pure function of it and of how its assets stand.
//!
//! Never says True of an asset that was not looked at just now.

use bloomery_api::Environment;
use bloomery_api::condition::ConditionStatus;
use bloomery_api::environment::{AssetCondition, EnvironmentStatus, READY};
use bloomery_platform::events::Notice;

use super::assets::{Asset, AssetState, Wanted};
use super::downloads::State;

const REASON: &str = "Environment Assets";

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    /// The status to write, if it changes.
    pub(super) status: Option<EnvironmentStatus>,
    /// What can be said of each asset.
    pub(super) news: Vec<News>,
}

/// News of an asset; the same news twice are none.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct News {
    pub(super) file: &'static str,
    /// The event that tells it, if there is any to tell.
    pub(super) notice: Option<Notice>,
    /// True for what is said once, and not again after each failure.
    pub(super) is_start: bool,
}

pub(super) fn plan(environment: &Environment, assets: &[Asset]) -> Plan {
    let wanted = EnvironmentStatus { conditions: assets.iter().map(condition).collect() };
    let news = assets.iter().map(news).collect();
    Plan { status: (environment.status.as_ref() != Some(&wanted)).then_some(wanted), news }
}

fn condition(asset: &Asset) -> AssetCondition {
    let Asset { wanted: Wanted { file: _, url, sha512 }, standing } = asset;
    let status = match standing {
        AssetState::Here { .. } => ConditionStatus::True,
        AssetState::Coming(_)
        | AssetState::Removed { .. }
        | AssetState::NotAskedFor
        | AssetState::Unusable { .. } => ConditionStatus::False,
    };
    AssetCondition { url: url.clone(), sha512: sha512.clone(), status, type_: READY.to_owned() }
}

/// A condition of an asset has no place for a text, so an event carries it.
fn news(asset: &Asset) -> News {
    let Asset { wanted: Wanted { file, url, sha512: _ }, standing } = asset;
    let (warning, message) = match standing {
        AssetState::Here { brought: Some((size, sha512)) } => {
            (false, format!("Asset {file} of {url} is here: {size} bytes, SHA-512 {sha512}."))
        }
        AssetState::Here { brought: None }
        | AssetState::NotAskedFor
        | AssetState::Coming(State::Queued | State::Placed(_)) => {
            return News { file, notice: None, is_start: false };
        }
        AssetState::Coming(State::Receiving { .. }) => {
            (false, format!("Asset {file} of {url} is being fetched."))
        }
        AssetState::Coming(State::Failed { message }) => {
            (true, format!("Asset {file} of {url} is not here yet: {message}."))
        }
        AssetState::Removed { wanted, actual } => {
            (true, format!("Asset {file} of {url} had SHA-512 {actual} instead of {wanted} and was removed."))
        }
        AssetState::Unusable { problem } => {
            (true, format!("Asset {file} of {url} cannot be fetched: {problem}."))
        }
    };
    let is_start = matches!(standing, AssetState::Coming(State::Receiving { .. }));
    News { file, notice: Some(Notice { warning, reason: REASON, action: file, message }), is_start }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bloomery_api::EnvironmentSpec;

    const HERE: AssetState = AssetState::Here { brought: None };

    fn environment() -> Environment {
        let mut environment = Environment::new("e", EnvironmentSpec::default());
        environment.spec.kernel.url = "k".to_owned();
        environment.spec.initrd.url = "i".to_owned();
        environment
    }

    fn assets(kernel: AssetState, initrd: AssetState) -> [Asset; 2] {
        [("vmlinuz", "k", kernel), ("initramfs.xz", "i", initrd)].map(|(file, url, standing)| Asset {
            wanted: Wanted { file, url: url.to_owned(), sha512: String::new() },
            standing,
        })
    }

    fn failed(message: &str) -> AssetState {
        AssetState::Coming(State::Failed { message: message.to_owned() })
    }

    #[test]
    fn ready_needs_both_files_and_one_that_fails_leaves_the_other_true() {
        let receiving = AssetState::Coming(State::Receiving { received: 1, total: Some(2) });
        let removed = AssetState::Removed { wanted: "1".to_owned(), actual: "0".to_owned() };
        let unusable = AssetState::Unusable { problem: "bad".to_owned() };
        for (kernel, initrd, conditions) in [
            (AssetState::Coming(State::Queued), receiving, [false, false]),
            (HERE, failed("away"), [true, false]),
            (unusable, HERE, [false, true]),
            (HERE, removed, [true, false]),
            (AssetState::NotAskedFor, AssetState::NotAskedFor, [false, false]),
            (HERE, AssetState::Here { brought: Some((5, "0".to_owned())) }, [true, true]),
        ] {
            let mut environment = environment();
            let status = plan(&environment, &assets(kernel.clone(), initrd.clone())).status.unwrap();
            let found: Vec<bool> =
                status.conditions.iter().map(|condition| condition.status == ConditionStatus::True).collect();
            assert_eq!(found, conditions, "{kernel:?} {initrd:?}");
            environment.status = Some(status);
            assert_eq!(environment.is_ready(), conditions == [true, true], "{kernel:?} {initrd:?}");
        }
    }

    #[test]
    fn an_unchanged_status_is_not_written() {
        let mut environment = environment();
        let found = assets(failed("away"), HERE);
        environment.status = plan(&environment, &found).status;
        assert_eq!(plan(&environment, &found).status, None);
    }

    #[test]
    fn a_status_for_another_url_is_replaced() {
        let mut environment = environment();
        environment.status = plan(&environment, &assets(HERE, HERE)).status;
        environment.spec.kernel.url = "new".to_owned();
        assert!(!environment.is_ready());
        let mut found = assets(AssetState::Coming(State::Queued), HERE);
        found[0].wanted.url = "new".to_owned();
        environment.status = plan(&environment, &found).status;
        assert!(!environment.is_ready());
        assert_eq!(environment.status.unwrap().conditions.len(), 2);
    }

    #[test]
    fn events_tell_what_conditions_cannot() {
        let table = [
            (HERE, None),
            (AssetState::Coming(State::Queued), None),
            (AssetState::NotAskedFor, None),
            (failed("away"), Some("Asset vmlinuz of k is not here yet: away.")),
            (
                AssetState::Removed { wanted: "1".to_owned(), actual: "0".to_owned() },
                Some("Asset vmlinuz of k had SHA-512 0 instead of 1 and was removed."),
            ),
            (
                AssetState::Here { brought: Some((5, "0".to_owned())) },
                Some("Asset vmlinuz of k is here: 5 bytes, SHA-512 0."),
            ),
        ];
        for (standing, message) in table {
            let plan = plan(&environment(), &assets(standing, HERE));
            let notice = plan.news[0].notice.as_ref();
            assert_eq!(notice.map(|notice| notice.message.as_str()), message);
        }
    }
}
