//! Shows that something is under way when it takes longer than people wait without wondering.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::ProgressBar;

/// Below it a spinner would only flicker.
const PATIENCE: Duration = Duration::from_secs(2);
/// How fast the spinner turns.
const TICK: Duration = Duration::from_millis(100);

/// Runs `work`; after two seconds says `doing` on standard error: a spinner on a terminal, else one line.
pub(crate) async fn during<T>(doing: &str, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    if let Ok(result) = tokio::time::timeout(PATIENCE, &mut work).await {
        return result;
    }
    if !std::io::stderr().is_terminal() {
        eprintln!("{doing} …");
        return work.await;
    }
    let spinner = ProgressBar::new_spinner().with_message(format!("{doing} …"));
    spinner.enable_steady_tick(TICK);
    let result = work.await;
    spinner.finish_and_clear();
    result
}
