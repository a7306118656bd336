//! The program behind the client, and what it may use.

use std::path::PathBuf;

use bloomery_sys::launcher::{Error, Program, serve};

/// Private writable memory at most. At rest the program has 28 MiB; the rest is room for hostile input.
const MEMORY: u64 = 512 * 1024 * 1024;
/// For Go's runtime. It collects harder from 96 MiB on, and shows no stack when it fails, as nobody would read it.
const ENVIRONMENT: [(&str, &str); 3] =
    [("GOMEMLIMIT", "96MiB"), ("GOMAXPROCS", "2"), ("GOTRACEBACK", "none")];

/// The launcher's life, for the main thread of a process that [`crate::Launcher::start`] made. It returns when the parent
/// is gone.
///
/// `program` is the link `talosconfig`; `libraries` is what it needs besides: nothing, as it is static.
///
/// # Errors
/// When the process cannot be confined, or has no parent of that kind.
pub fn serve_launcher(program: PathBuf, libraries: Vec<PathBuf>) -> Result<(), Error> {
    let env = ENVIRONMENT.iter().map(|&(name, value)| (name.into(), value.into())).collect();
    serve(&Program { path: program, env, memory: MEMORY, libraries })
}
