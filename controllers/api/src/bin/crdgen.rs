//! Writes the generated CRDs into `controllers/api/crds/`.
//!
//! Never run by the product: `make check` runs it and looks for differences.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    match write(&directory) {
        Ok(count) => {
            println!("wrote {count} definitions to {}", directory.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("crdgen: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(directory: &Path) -> Result<usize, Box<dyn std::error::Error>> {
    std::fs::create_dir_all(directory)?;
    let files = bloomery_api::crds::files()?;
    for file in &files {
        std::fs::write(directory.join(&file.name), &file.text)?;
    }
    Ok(files.len())
}
