//! What an API server has answered, from its metric `apiserver_request_total`.

use std::collections::BTreeMap;

/// The counter; what follows in braces are labels.
const METRIC: &str = "apiserver_request_total{";
/// Kinds of requests below this share of all are one line.
const FEW: f64 = 0.01;

/// Requests by verb and resource: `PATCH servers/status`.
pub(crate) fn parse(metrics: &str) -> BTreeMap<String, f64> {
    let mut counts: BTreeMap<String, f64> = BTreeMap::new();
    for line in metrics.lines() {
        let Some((labels, value)) = line.strip_prefix(METRIC).and_then(|rest| rest.rsplit_once("} ")) else {
            continue;
        };
        let label = |name: &str| {
            let start = labels.find(&format!("{name}=\""))? + name.len() + 2;
            labels[start..].split('"').next()
        };
        let verb = label("verb").unwrap_or_default();
        let (resource, part) =
            (label("resource").unwrap_or_default(), label("subresource").unwrap_or_default());
        let name =
            if part.is_empty() { format!("{verb} {resource}") } else { format!("{verb} {resource}/{part}") };
        *counts.entry(name).or_default() += value.trim().parse::<f64>().unwrap_or_default();
    }
    counts
}

/// What others than the measuring program asked for.
pub(crate) fn without(counts: &BTreeMap<String, f64>, own: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let less = |name: &String| own.get(name).copied().unwrap_or_default();
    counts.iter().map(|(name, count)| (name.clone(), count - less(name))).collect()
}

/// What was answered after `before`; rare kinds are summed up.
pub(crate) fn since(after: &BTreeMap<String, f64>, before: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let more = |(name, count): (&String, &f64)| {
        (name.clone(), (count - before.get(name).copied().unwrap_or_default()).max(0.0))
    };
    let counts: BTreeMap<String, f64> = after.iter().map(more).collect();
    let all: f64 = counts.values().sum();
    let mut shown = BTreeMap::new();
    for (name, count) in counts {
        let name = if count < FEW * all { "other".to_owned() } else { name };
        *shown.entry(name).or_default() += count;
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_verb_and_resource() {
        let text = |created: u32| {
            format!(
                "# TYPE apiserver_request_total counter\n\
                 apiserver_request_total{{code=\"201\",resource=\"servers\",subresource=\"\",verb=\"POST\"}} {created}\n\
                 apiserver_request_total{{code=\"409\",resource=\"servers\",subresource=\"\",verb=\"POST\"}} 1\n\
                 apiserver_request_total{{code=\"200\",resource=\"servers\",subresource=\"status\",verb=\"PATCH\"}} 5\n\
                 apiserver_other{{verb=\"POST\"}} 9\n"
            )
        };
        let before = parse(&text(0));
        assert!((before["POST servers"] - 1.0).abs() < f64::EPSILON, "{before:?}");
        let own = BTreeMap::from([("POST servers".to_owned(), 50.0)]);
        let others = since(&without(&parse(&text(200)), &own), &before);
        assert!((others["POST servers"] - 150.0).abs() < f64::EPSILON, "{others:?}");
        let used = since(&parse(&text(200)), &before);
        assert_eq!(used, BTreeMap::from([("POST servers".to_owned(), 200.0), ("other".to_owned(), 0.0)]));
    }
}
