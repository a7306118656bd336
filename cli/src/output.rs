//! How results are printed: for people or for programs.

use std::io::{self, Write as _};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use clap::ValueEnum;
use serde::Serialize;

/// `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

impl Format {
    /// Prints a result to standard output.
    pub(crate) fn print(self, result: &impl Serialize, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        match self {
            Self::Text => self::text(&text()),
            Self::Json => json(result),
        }
    }
}

/// Prints a result to standard output.
pub(crate) fn text(text: &str) -> anyhow::Result<()> {
    piece(text).map(drop)
}

/// Prints a part of a result to standard output; false when its reader has ended.
pub(crate) fn piece(text: &str) -> anyhow::Result<bool> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Ok(()) => Ok(true),
        // `bloomery … | head` is no error.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("failed to write to standard output"),
    }
}

/// Prints a result to standard output as JSON.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut rendered = serde_json::to_string_pretty(value).context("failed to encode the result as JSON")?;
    rendered.push('\n');
    text(&rendered)
}

/// Rows as left-aligned columns, two spaces between them; the first row is the heading.
pub(crate) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut rendered = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        rendered.push_str(cells.join("  ").trim_end());
        rendered.push('\n');
    }
    rendered
}

/// The age of what began then (RFC 3339).
pub(crate) fn age_since(since: &str, now: SystemTime) -> String {
    humantime::parse_rfc3339(since).map_or_else(|_| "-".to_owned(), |since| age(since, now))
}

/// The two largest units: "3h 12m". Clocks that disagree give zero.
pub(crate) fn age(since: SystemTime, now: SystemTime) -> String {
    let seconds = now.duration_since(since).unwrap_or_default().as_secs();
    let rendered = humantime::format_duration(Duration::from_secs(seconds)).to_string();
    rendered.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_have_no_trailing_spaces() {
        let row = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
        assert_eq!(table(&[row("NAME", "X"), row("a longer name", "")]), "NAME           X\na longer name\n");
    }
}
