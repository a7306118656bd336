//! `bloomery.yaml`: read strictly; if it is bad, the last good one is used, and if there is none, the default.

use crate::boot_partition;
use crate::context::Context;
use crate::disk_state::State;
use crate::files;
use crate::outcome::{Outcome, Shortfall};
use bloomery_base::chain;
use bloomery_config::{Config, ConfigError, FILE_NAME};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What there is to read.
enum Found {
    Good(Box<Config>, String),
    Bad(ConfigError),
    None,
}

/// The phase. A file with mistakes is a failure, and the last good configuration or the default is found.
pub fn load(context: &Context, state: State) -> Outcome<Arc<Config>> {
    if !context.container
        && let Err(error) = boot_partition::mount(&context.layout.boot)
    {
        // Its file is then not there, which is said below.
        tracing::warn!(error = %chain(&error), "the partition with the configuration is not mounted");
    }
    let last_good = context.layout.last_good_config();
    match read(&context.layout.config())? {
        Found::Good(config, text) => {
            if state != State::Damaged {
                keep(&last_good, &text);
            }
            Ok(Arc::from(config))
        }
        Found::None => {
            context.console.line(format!("no {FILE_NAME}: using the defaults"));
            Ok(Arc::default())
        }
        Found::Bad(error) => {
            for problem in error.problems() {
                context.console.line(problem.to_string());
            }
            let (config, which) = match read(&last_good) {
                Ok(Found::Good(config, _)) => (*config, "the last good configuration"),
                _ => (Config::default(), "the default configuration"),
            };
            let text = format!("{FILE_NAME} has {} mistake(s); using {which}", error.problems().len());
            context.warn("config", &text, &format!("correct it and restart: {error}"));
            Err(Shortfall::with(error, Arc::new(config)))
        }
    }
}

fn read(path: &Path) -> Result<Found, files::Error> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::None),
        Err(source) => return Err(files::Error::Read { path: path.to_owned(), source }),
    };
    Ok(match Config::parse_bytes(&bytes) {
        Ok(config) => Found::Good(Box::new(config), String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) => Found::Bad(error),
    })
}

/// A state partition that is full has its own warning.
fn keep(path: &Path, text: &str) {
    let unchanged = std::fs::read_to_string(path).is_ok_and(|kept| kept == text);
    let kept = unchanged
        || path.parent().is_some_and(|parent| files::directory(parent, files::PRIVATE_DIR, None).is_ok())
            && files::replace(path, text.as_bytes(), files::PRIVATE, None).is_ok();
    if !kept {
        tracing::warn!(path = %path.display(), "the configuration could not be kept for bad days");
    }
}
