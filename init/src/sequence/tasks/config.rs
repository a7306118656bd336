//! `bloomery.yaml`: read strictly; if it is bad, the last good one is used, and if there is none, the default.

use crate::boot_partition;
use crate::context::{Context, State};
use crate::files;
use crate::sequence::Work;
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

/// Runs the phase.
pub fn run(context: Context) -> Work {
    Box::pin(async move {
        if !context.container
            && let Err(error) = boot_partition::mount(&context.layout.boot)
        {
            // Its file is then not there, which is said below.
            tracing::warn!(error = %chain(&error), "the partition with the configuration is not mounted");
        }
        let last_good = context.layout.last_good_config();
        match read(&context.layout.config())? {
            Found::Good(config, text) => {
                context.facts().config = Arc::from(config);
                keep(&context, &last_good, &text);
                Ok(())
            }
            Found::None => {
                context.console.line(format!("no {FILE_NAME}: using the defaults"));
                Ok(())
            }
            Found::Bad(error) => {
                for problem in error.problems() {
                    context.console.line(problem.to_string());
                }
                let (config, which) = match read(&last_good) {
                    Ok(Found::Good(config, _)) => (*config, "the last good configuration"),
                    _ => (Config::default(), "the default configuration"),
                };
                context.facts().config = Arc::new(config);
                let text = format!("{FILE_NAME} has {} mistake(s); using {which}", error.problems().len());
                context.warn("config", &text, &format!("correct it and restart: {error}"));
                Err(error.into())
            }
        }
    })
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

/// A full or damaged state partition is somebody else's message.
fn keep(context: &Context, path: &Path, text: &str) {
    if context.facts().state == State::Damaged {
        return;
    }
    let unchanged = std::fs::read_to_string(path).is_ok_and(|kept| kept == text);
    let kept = unchanged
        || path.parent().is_some_and(|parent| files::directory(parent, files::PRIVATE_DIR, None).is_ok())
            && files::replace(path, text.as_bytes(), files::PRIVATE, None).is_ok();
    if !kept {
        tracing::warn!(path = %path.display(), "the configuration could not be kept for bad days");
    }
}
