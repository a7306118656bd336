//! Lines on the consoles of the machine, written by a thread.
//!
//! A stuck serial line must never hold up PID 1: the thread drops lines that do not fit into its queue.

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// Lines that may wait for a slow console: a boot writes fewer than a hundred.
const QUEUE: usize = 512;
/// A console holds up a shutdown no longer than this.
const FLUSH_LIMIT: Duration = Duration::from_secs(3);

enum Message {
    Line(String),
    Flush(SyncSender<()>),
}

/// A handle on the console; cheap to clone.
#[derive(Debug, Clone)]
pub struct Console {
    queue: Arc<SyncSender<Message>>,
}

impl Console {
    /// Every console of the machine.
    pub fn machine() -> Self {
        let console = bloomery_sys::console::Console::default();
        Self::with(move |line| console.line(line))
    }

    /// Standard output: the console of a container.
    pub fn stdout() -> Self {
        // Nobody is left to be told when standard output is closed.
        Self::with(|line| drop(writeln!(std::io::stdout().lock(), "{line}")))
    }

    /// Any other place for lines.
    pub fn with(mut write: impl FnMut(&str) + Send + 'static) -> Self {
        let (sender, receiver): (_, Receiver<Message>) = sync_channel(QUEUE);
        let worker = move || {
            while let Ok(message) = receiver.recv() {
                match message {
                    Message::Line(line) => write(&line),
                    Message::Flush(done) => {
                        let _ = done.try_send(());
                    }
                }
            }
        };
        // Without threads there is no console, and nothing else to be done about it.
        drop(std::thread::Builder::new().name("console".to_owned()).stack_size(128 * 1024).spawn(worker));
        Self { queue: Arc::new(sender) }
    }

    /// Shows a line. Never waits.
    pub fn line(&self, text: impl Into<String>) {
        let text = text.into();
        tracing::debug!(target: "console", line = %text, "shown");
        drop(self.queue.try_send(Message::Line(text)));
    }

    /// Waits until all lines so far are shown, up to a limit.
    pub fn flush(&self) {
        let (done, shown) = sync_channel(1);
        if self.queue.try_send(Message::Flush(done)).is_ok() {
            let _ = shown.recv_timeout(FLUSH_LIMIT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn shows_lines_in_order_and_flushes() {
        let shown = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&shown);
        let console = Console::with(move |line| sink.lock().unwrap().push(line.to_owned()));
        console.line("one");
        console.line("two");
        console.flush();
        assert_eq!(*shown.lock().unwrap(), ["one", "two"]);
    }

    #[test]
    fn a_stuck_console_holds_nobody_up() {
        let (release, stuck) = std::sync::mpsc::channel::<()>();
        let console = Console::with(move |_| {
            let _ = stuck.recv();
        });
        for number in 0..QUEUE * 2 {
            console.line(number.to_string());
        }
        drop(release);
    }
}
