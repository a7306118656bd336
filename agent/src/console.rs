//! What the person in front of the machine reads, on every console.
//!
//! It must never hold up the rest: a slow serial line has a thread of its own. Texts are made here and nowhere
//! else, so that they can be read, and tested, as a whole.

use std::sync::mpsc::{Sender, channel};

use bloomery_sys::console::Console;

mod block;
mod messages;

pub use block::machine;
pub use messages::{
    count, dhcp_event, error_text, fatal, lease, register_failed, waiting_for_card, wipe_done, wipe_failed,
    wipe_not_reported, wipe_revoked, wipe_starts,
};

/// The consoles. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Screen {
    lines: Sender<String>,
}

impl Screen {
    /// Starts the thread that writes.
    pub fn open() -> std::io::Result<Self> {
        let (lines, queue) = channel::<String>();
        let console = Console::default();
        std::thread::Builder::new().name("console".to_owned()).spawn(move || {
            for line in queue {
                console.line(&line);
            }
        })?;
        Ok(Self { lines })
    }

    /// A screen whose lines go to a channel.
    pub fn to_channel(lines: Sender<String>) -> Self {
        Self { lines }
    }

    /// Shows a text, line by line. Nothing in it can move the cursor or change colours.
    pub fn show(&self, text: &str) {
        for line in text.lines() {
            let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            tracing::debug!(%line, "shown");
            // The thread outlives every sender; if it died there is nobody to tell.
            let _ = self.lines.send(line);
        }
    }
}

/// Bytes as people write disk sizes.
fn size(bytes: u64) -> String {
    const MB: u64 = 1_000_000;
    const GB: u64 = 1000 * MB;
    if bytes < GB {
        return format!("{} MB", bytes / MB);
    }
    let tenths = bytes / (GB / 10);
    format!("{}.{} GB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests;
