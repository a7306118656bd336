//! PID 1's own log: the kernel's in a machine, standard error in a container. And a panic's last words.

use bloomery_sys::kmsg::{self, Kmsg};
use tracing::Level;

/// Starts the log; without one, PID 1 runs all the same.
pub fn start(container: bool) {
    let builder = tracing_subscriber::fmt().with_ansi(false).with_target(false).with_max_level(Level::INFO);
    if container {
        // Containers' logs have no time of their own.
        let _ = builder.with_writer(std::io::stderr).try_init();
    } else if let Ok(log) = Kmsg::open() {
        let _ = kmsg::lift_rate_limit();
        let _ = builder.without_time().with_level(false).with_writer(log).try_init();
    }
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(%panic, "a bug in PID 1; the task is given up and the rest goes on");
    }));
}
