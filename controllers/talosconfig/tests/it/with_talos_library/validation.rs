//! Verdicts on configurations.

use std::collections::BTreeMap;

use bloomery_talosconfig::{Level, Secret, Validation};
use serde::Deserialize;

use crate::support::{assert_none, client, golden, read};

#[derive(Debug, Deserialize)]
struct Verdict {
    valid: bool,
    #[serde(default)]
    errors: Option<Vec<String>>,
    #[serde(default)]
    warnings: Option<Vec<String>>,
    #[serde(default)]
    load_error: Option<String>,
}

impl Verdict {
    fn says(self, judged: &Validation) -> bool {
        let sorted = |mut list: Vec<String>| {
            list.sort();
            list
        };
        self.valid == judged.valid
            && sorted(self.errors.unwrap_or_default()) == sorted(judged.errors.clone())
            && self.warnings.unwrap_or_default() == judged.warnings
            && self.load_error.unwrap_or_default() == judged.load_error
    }
}

/// Cases in which the pinned release (1.13.9) does as later ones, other than 1.13.0: `auto: off` without a name is good.
const AS_LATER_RELEASES: [&str; 1] = ["hostname-doc-auto-off-no-hostname"];

#[tokio::test]
async fn verdicts_are_those_of_upstream() {
    let client = client();
    let verdicts: BTreeMap<String, BTreeMap<String, Verdict>> =
        serde_json::from_str(&read(golden().join("validate/verdicts.json"))).unwrap();
    assert!(verdicts.len() >= 50, "{}", verdicts.len());
    let mut differences = Vec::new();
    for (name, mut verdicts) in verdicts {
        let config = Secret::from(read(golden().join(format!("validate/{name}.yaml"))));
        for (level, key) in [(Level::Node, "node"), (Level::Talosctl, "talosctl"), (Level::Strict, "strict")]
        {
            let judged = client.validate(&config, level).await.unwrap();
            let program = if AS_LATER_RELEASES.contains(&name.as_str()) { "head" } else { "113" };
            let expected = verdicts.remove(&format!("{program}.{key}")).unwrap();
            let text = format!("{expected:?}");
            if !expected.says(&judged) {
                differences.push(format!("{name}, {key}: {judged:?} for {text}"));
            }
        }
    }
    assert_none(&differences);
}
