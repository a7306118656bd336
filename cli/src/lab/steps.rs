//! Steps as they happen, on standard error: a live line with the time on a terminal, plain lines elsewhere.

use std::fmt::Display;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// How fast spinner and clock of a live line go.
const TICK: Duration = Duration::from_millis(100);
/// A live line.
const LIVE: &str = "  {spinner} {msg} {elapsed}";

/// Where steps are shown.
pub(super) struct Steps {
    began: Instant,
    /// `None` when standard error is no terminal.
    live: Option<MultiProgress>,
}

impl Steps {
    pub(super) fn new() -> Self {
        let live = std::io::stderr().is_terminal().then(MultiProgress::new);
        Self { began: Instant::now(), live }
    }

    /// Does `work` as the step `name`; `detail` says in a few words what came of it.
    ///
    /// # Errors
    /// Those of `work`, with the step's name in front.
    pub(super) async fn run<T>(
        &self,
        name: &str,
        work: impl Future<Output = anyhow::Result<T>>,
        detail: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<T> {
        let began = Instant::now();
        let bar = self.live.as_ref().map(|live| spinner(live, name));
        if bar.is_none() {
            self.line(&format!("    {name} …"));
        }
        let result = work.await;
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        let took = began.elapsed().as_secs_f64();
        match result {
            Ok(value) => {
                let detail = detail(&value);
                let detail = if detail.is_empty() { detail } else { format!(": {detail}") };
                self.line(&format!("ok  {name}{detail} ({took:.1} s)"));
                Ok(value)
            }
            Err(error) => {
                self.line(&format!("FAILED  {name} ({took:.1} s)"));
                Err(error).with_context(|| format!("failed in step \"{name}\" after {took:.1} s"))
            }
        }
    }

    /// Something worth a line within a step.
    pub(super) fn note(&self, text: impl Display) {
        self.line(&format!("      {text}"));
    }

    fn line(&self, text: &str) {
        let line = format!("{:>7.1} s  {text}", self.began.elapsed().as_secs_f64());
        match &self.live {
            // A closed terminal is no reason to stop the lab.
            Some(bars) => drop(bars.println(line)),
            None => eprintln!("{line}"),
        }
    }
}

fn spinner(live: &MultiProgress, name: &str) -> ProgressBar {
    let bar = live.add(ProgressBar::new_spinner());
    if let Ok(style) = ProgressStyle::with_template(LIVE) {
        bar.set_style(style);
    }
    bar.set_message(name.to_owned());
    bar.enable_steady_tick(TICK);
    bar
}
