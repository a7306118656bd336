//! Tables made by hand, and mutations of them.
