//! The pinned lists: tab-separated columns below a head of `# name: value` lines.

use anyhow::{Result, bail};

/// One advisory about one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) columns: Vec<String>,
    /// In the file, for messages.
    pub(super) line: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct List {
    /// Day of the database that it was made from, YYYY-MM-DD.
    pub(super) date: String,
    pub(super) rows: Vec<Row>,
}

impl List {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let date = text.lines().find_map(|line| line.strip_prefix("# date: "));
        let Some(date) = date else { bail!("a list of advisories has no line `# date: YYYY-MM-DD`") };
        let rows = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.starts_with('#') && !line.trim().is_empty())
            .map(|(index, line)| Row {
                columns: line.split('\t').map(str::to_owned).collect(),
                line: index + 1,
            })
            .collect();
        Ok(Self { date: date.trim().to_owned(), rows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_rows_below_a_dated_head() {
        let list = List::parse("# date: 2026-01-02\n# more\n\na\tb\tc\n").unwrap();
        assert_eq!(list.date, "2026-01-02");
        assert_eq!(list.rows, [Row { columns: vec!["a".into(), "b".into(), "c".into()], line: 4 }]);
        assert!(List::parse("a\tb\n").is_err());
    }
}
