//! Log files of the children, and a watch on the space for them.
//!
//! Without it services run all the same; a full disk costs log lines first.

use crate::context::Context;
use crate::files;
use crate::sequence::Work;
use crate::services::users;
use crate::space;

/// Only root lists it; the API server reaches the directory of its audit log through it.
const MODE: u32 = 0o751;

/// Runs the phase.
pub fn run(context: Context) -> Work {
    Box::pin(async move {
        tokio::spawn(space::watch(context.clone()));
        files::directory(&context.layout.logs(), MODE, None)?;
        let owner = context.accounts().owner(users::APISERVER);
        if let Some(audit) = context.layout.audit_log().parent() {
            files::directory(audit, files::PRIVATE_DIR, owner)?;
        }
        Ok(())
    })
}
