//! Brings along the shared libraries and the loader that a few Debian programs need. It must
//! never take a library from the build machine: only from the unpacked, locked packages.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endianness, elf};

use crate::tree::{self, MODE_DATA, MODE_EXECUTABLE};

/// Where libraries lie in packages, before and after the merge of `/lib` into `/usr/lib`.
const LIBRARY_DIRS: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];
/// Where they go.
const TARGET_DIR: &str = "usr/lib/x86_64-linux-gnu";
/// The loader's path in packages and in every program; `/lib64` is a link to `/usr/lib64`.
const LOADER: &str = "lib64/ld-linux-x86-64.so.2";
/// The loader's place in the merged root.
const LOADER_TARGET: &str = "usr/lib64/ld-linux-x86-64.so.2";

/// Installs all libraries that `programs` need, directly or not, and the loader.
///
/// # Errors
/// A needed library is in none of `packages`; the text names it.
pub fn install(programs: &[PathBuf], packages: &[&Path], root: &Path) -> Result<()> {
    let mut pending = programs.to_vec();
    let mut seen = BTreeSet::new();
    while let Some(file) = pending.pop() {
        for name in needed(&file)? {
            if !seen.insert(name.clone()) || LOADER.ends_with(&name) {
                continue;
            }
            let source = find(&name, packages).with_context(|| {
                format!("{} needs {name}, which no package of components.toml has", file.display())
            })?;
            tree::copy(&source, &root.join(TARGET_DIR).join(&name), MODE_DATA)?;
            pending.push(source);
        }
    }
    let loader = packages
        .iter()
        .find_map(|package| tree::resolve_in(package, Path::new(LOADER)).ok())
        .with_context(|| format!("no package of components.toml has {LOADER}"))?;
    tree::copy(&loader, &root.join(LOADER_TARGET), MODE_EXECUTABLE)
}

fn find(name: &str, packages: &[&Path]) -> Option<PathBuf> {
    packages
        .iter()
        .flat_map(|package| LIBRARY_DIRS.iter().map(move |dir| (package, Path::new(dir).join(name))))
        .find_map(|(package, relative)| tree::resolve_in(package, &relative).ok())
}

/// The `DT_NEEDED` names of a 64-bit ELF file; none for a static program.
fn needed(file: &Path) -> Result<Vec<String>> {
    let data = fs::read(file).with_context(|| format!("failed to read {}", file.display()))?;
    parse(&data).with_context(|| format!("failed to read the ELF tables of {}", file.display()))
}

fn parse(data: &[u8]) -> Result<Vec<String>> {
    let header = elf::FileHeader64::<Endianness>::parse(data)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, data)?;
    let mut names = Vec::new();
    for segment in header.program_headers(endian, data)? {
        let Some(dynamic) = segment.dynamic(endian, data)? else { continue };
        let Some((_, link)) = sections.dynamic(endian, data)? else { continue };
        let strings = sections.strings(endian, data, link)?;
        for entry in dynamic.iter().filter(|entry| entry.tag(endian) == elf::DT_NEEDED) {
            names.push(String::from_utf8(entry.string(endian, strings)?.to_vec())?);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_dynamic_program_needs() {
        let names = needed(&std::env::current_exe().unwrap()).unwrap();
        assert!(names.iter().any(|name| name == "libc.so.6"), "{names:?}");
    }

    #[test]
    fn missing_library_is_named() {
        let root = tempfile::tempdir().unwrap();
        let empty = tempfile::tempdir().unwrap();
        let error = install(&[std::env::current_exe().unwrap()], &[empty.path()], root.path()).unwrap_err();
        assert!(error.to_string().contains(".so"), "{error}");
    }

    #[test]
    fn garbage_is_an_error_not_a_static_program() {
        assert!(parse(b"#!/bin/sh\n").is_err());
    }
}
