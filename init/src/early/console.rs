//! What people read while there is nothing else: every console, and the kernel's log.
//!
//! Must never keep the boot waiting for a reader.

use std::error::Error;

use bloomery_sys::console::Console;
use bloomery_sys::kmsg::{self, Kmsg, Priority};

use bloomery_base::chain;

/// Where lines go.
enum Sink {
    Machine {
        console: Console,
        kmsg: Option<Kmsg>,
    },
    #[cfg(test)]
    Recording(std::rc::Rc<std::cell::RefCell<Vec<String>>>),
}

/// The consoles and the log while the initramfs runs.
pub(super) struct EarlyConsole {
    sink: Sink,
}

impl EarlyConsole {
    /// The machine's consoles and log. /dev and /sys should be mounted.
    pub(super) fn open() -> Self {
        // Without it ten lines in five seconds are all that the kernel keeps.
        let _ = kmsg::lift_rate_limit();
        let kmsg = Kmsg::open().ok();
        if let Some(log) = &kmsg {
            let format = tracing_subscriber::fmt().with_ansi(false).without_time().with_level(false);
            // Fails where a log was started already, which is as good.
            let _ = format.with_target(false).with_writer(log.clone()).try_init();
        }
        Self { sink: Sink::Machine { console: Console::default(), kmsg } }
    }

    /// A console that a test listens to.
    #[cfg(test)]
    pub(super) fn recording() -> (Self, std::rc::Rc<std::cell::RefCell<Vec<String>>>) {
        let lines = std::rc::Rc::default();
        (Self { sink: Sink::Recording(std::rc::Rc::clone(&lines)) }, lines)
    }

    pub(super) fn say(&self, line: &str) {
        match &self.sink {
            Sink::Machine { console, .. } => console.line(line),
            #[cfg(test)]
            Sink::Recording(lines) => lines.borrow_mut().push(line.to_owned()),
        }
        self.log(line);
    }

    /// A line for the log only.
    pub(super) fn log(&self, line: &str) {
        match &self.sink {
            Sink::Machine { kmsg: Some(kmsg), .. } => kmsg.log(Priority::Info, &format!("early: {line}")),
            Sink::Machine { kmsg: None, .. } => {}
            #[cfg(test)]
            Sink::Recording(_) => {}
        }
    }

    /// What is wrong, why, and what to do.
    pub(super) fn problem(&self, what: &str, why: &(dyn Error + 'static), advice: &str) {
        self.say(&format!("{what}: {}", chain(why)));
        self.say(&format!("  what to do: {advice}"));
    }
}
