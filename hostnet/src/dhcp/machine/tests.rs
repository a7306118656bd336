//! Tables with a clock of their own.
