//! Log files of the children, and a watch on the space for them.
//!
//! Without it services run all the same; a full disk costs log lines first.

use crate::context::Context;
use crate::files;
use crate::sequence::Work;
use crate::space;

/// Root only.
const MODE: u32 = 0o750;

/// Runs the phase.
pub fn run(context: Context) -> Work {
    Box::pin(async move {
        tokio::spawn(space::watch(context.clone()));
        files::directory(&context.layout.logs(), MODE, None)?;
        Ok(())
    })
}
