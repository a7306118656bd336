//! Memory of the plane at rest, natively: the proportional set sizes of all its processes, beside upstream's four
//! processes with their default settings.
//!
//! Natively, because only the host's kernel lets us look into processes that have no shell beside them.

mod plane;
pub(crate) mod processes;
mod upstream;

use std::time::Duration;

use crate::Options;
use crate::report::{Figure, Goal, Peer, Unit};

/// What is promised of the whole plane, MiB.
const PLANE_GOAL: f64 = 560.0;
/// What is promised of PID 1, MiB.
const INIT_GOAL: f64 = 8.0;

/// The plane's sum and parts, and PID 1 alone.
pub(crate) async fn measure(options: &Options) -> anyhow::Result<Vec<Figure>> {
    let settle = Duration::from_secs(options.settle);
    let upstream = upstream::measure(&options.out, settle).await?;
    eprintln!("bench: upstream's processes take {:.0} MiB", upstream.pss());
    let plane = plane::measure(&options.out, settle).await?;
    let init = plane.get(plane::INIT)?;
    let sum = Figure {
        name: "memory of the plane at rest, PSS",
        unit: Unit::Mebibytes,
        ours: vec![plane.pss()],
        peer: Some(Peer {
            name: "upstream's etcd, apiserver, kcm, Cluster API, default settings",
            values: vec![upstream.pss()],
            parts: upstream.parts(),
        }),
        goal: Some(Goal::AtMost(PLANE_GOAL)),
        parts: plane.parts(),
    };
    let pid1 = Figure {
        name: "memory of PID 1, RSS",
        unit: Unit::Mebibytes,
        ours: vec![init.rss],
        peer: None,
        goal: Some(Goal::AtMost(INIT_GOAL)),
        parts: [("anonymous".to_owned(), init.anonymous)].into(),
    };
    Ok(vec![sum, pid1])
}
