//! The corpus as tests: each input, and what is near to it, goes through its target.

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

/// Longer inputs are replayed as they are, without neighbours.
const MOST_OCTETS: usize = 1024;
/// What takes the place of an octet: the ends of its range and its sign.
const OCTETS: [u8; 4] = [0, 0x7f, 0x80, 0xff];
/// Name and function of a target.
type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 8] = [
    ("dhcp", crate::dhcp::run),
    ("disk", crate::disk::run),
    ("grpc", crate::grpc::run),
    ("ipmi", crate::ipmi::run),
    ("ipxe_query", crate::ipxe_query::run),
    ("life", crate::life::run),
    ("smbios", crate::smbios::run),
    ("tftp", crate::tftp::run),
];

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The input cut short at each length, and with each octet in turn replaced.
fn neighbours(input: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let cut = (0..input.len()).map(|length| input[..length].to_vec());
    let replaced = (0..input.len()).flat_map(move |place| {
        OCTETS.map(|octet| {
            let mut changed = input.to_vec();
            changed[place] = octet;
            changed
        })
    });
    cut.chain(replaced)
}

fn hex(input: &[u8]) -> String {
    use std::fmt::Write as _;
    input.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// Replays a target's folder; the message names each file, and the octets where they are not the file's own.
fn replay(target: &str) {
    let (_, run) = TARGETS.into_iter().find(|(name, _)| *name == target).unwrap();
    let folder = corpus().join(target);
    let files = names(&folder);
    assert!(!files.is_empty(), "{} is empty", folder.display());
    let mut failed = Vec::new();
    for file in files {
        let input = fs::read(folder.join(&file)).unwrap();
        if catch_unwind(|| run(&input)).is_err() {
            failed.push(file);
        } else if input.len() <= MOST_OCTETS
            && let Some(near) = neighbours(&input).find(|near| catch_unwind(|| run(near)).is_err())
        {
            failed.push(format!("{file}, changed to {}", hex(&near)));
        }
    }
    assert!(failed.is_empty(), "{} fails on:\n{}", folder.display(), failed.join("\n"));
}

macro_rules! replays {
    ($($target:ident),*) => {
        $(#[test]
        fn $target() {
            replay(stringify!($target));
        })*

        #[test]
        fn each_target_has_a_binary_a_corpus_and_a_test() {
            let tested = BTreeSet::from([$(stringify!($target).to_owned()),*]);
            assert_eq!(tested, TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect());
            assert_eq!(tested, names(&corpus()));
            let binaries = names(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin"));
            assert_eq!(tested, binaries.iter().map(|name| name.trim_end_matches(".rs").to_owned()).collect());
        }
    };
}

replays!(dhcp, disk, grpc, ipmi, ipxe_query, life, smbios, tftp);
