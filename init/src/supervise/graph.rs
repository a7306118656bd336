//! The order in which services depend on each other. Pure.

use std::collections::BTreeSet;

/// What is wrong with a set of declarations.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("failed to order the services: {0} is declared twice")]
    Twice(String),
    #[error("failed to order the services: {service} is to start after {dependency}, which does not exist")]
    Unknown { service: String, dependency: String },
    #[error("failed to order the services: a cycle through {0}")]
    Cycle(String),
}

/// The names in an order in which each comes after all it depends on; ties keep the order of declaration.
pub fn order<'a>(declared: &[(&'a str, &[&'a str])]) -> Result<Vec<&'a str>, Error> {
    let mut names = BTreeSet::new();
    for (name, _) in declared {
        if !names.insert(*name) {
            return Err(Error::Twice((*name).to_owned()));
        }
    }
    for (service, after) in declared {
        if let Some(dependency) = after.iter().find(|dependency| !names.contains(*dependency)) {
            return Err(Error::Unknown {
                service: (*service).to_owned(),
                dependency: (*dependency).to_owned(),
            });
        }
    }
    let mut ordered: Vec<&str> = Vec::with_capacity(declared.len());
    while ordered.len() < declared.len() {
        let next = declared.iter().find(|(name, after)| {
            !ordered.contains(name) && after.iter().all(|dependency| ordered.contains(dependency))
        });
        let Some((name, _)) = next else {
            let stuck = declared.iter().find(|(name, _)| !ordered.contains(name));
            return Err(Error::Cycle(stuck.map_or_else(String::new, |(name, _)| (*name).to_owned())));
        };
        ordered.push(name);
    }
    Ok(ordered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_after_dependencies() {
        let declared: [(&str, &[&str]); 4] = [("c", &["b"]), ("a", &[]), ("b", &["a"]), ("d", &[])];
        assert_eq!(order(&declared), Ok(vec!["a", "b", "c", "d"]));
    }

    #[test]
    fn refuses_what_could_never_start() {
        assert_eq!(order(&[("a", &["a"])]), Err(Error::Cycle("a".into())));
        assert_eq!(order(&[("a", &["b"]), ("b", &["a"])]), Err(Error::Cycle("a".into())));
        assert_eq!(
            order(&[("a", &["x"])]),
            Err(Error::Unknown { service: "a".into(), dependency: "x".into() })
        );
        assert_eq!(order(&[("a", &[]), ("a", &[])]), Err(Error::Twice("a".into())));
    }
}
