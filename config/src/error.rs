//! The mistakes in a `bloomery.yaml`, with their places and what is allowed.
//!
//! Must never hold values from the file other than keys and the offending scalar.

use crate::FILE_NAME;
use std::fmt;

/// One thing that is wrong, and where. Displayed as `bloomery.yaml:LINE:COL: what is wrong; what is allowed`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong, a semicolon, and what is allowed.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{FILE_NAME}:{}:{}: {}", self.line, self.column, self.message)
    }
}

/// All that is wrong with the file, in the order of its lines; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    pub(crate) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort();
        Self { problems }
    }

    pub(crate) fn single(line: usize, column: usize, message: String) -> Self {
        Self { problems: vec![Problem { line, column, message }] }
    }

    /// The problems, by line and column.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            problem.fmt(formatter)?;
        }
        Ok(())
    }
}
