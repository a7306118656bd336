//! How large the disk image is, as it lies on a disk and as it is downloaded.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::Path;

use anyhow::Context as _;

use crate::Options;
use crate::report::{Figure, Goal, Unit};

/// What is promised of the compressed image, MB.
const GOAL: f64 = 130.0;
/// What release downloads use: more takes minutes and gains a percent, as the root is compressed already.
const ZSTD_LEVEL: i32 = 9;
const MEGABYTE: f64 = 1e6;
/// Files that the image is made of, where the build left them.
const PARTS: [&str; 4] = ["vmlinuz", "initramfs.img", "root.squashfs", "agent/initramfs.xz"];

/// Raw and compressed size.
pub(crate) fn measure(options: &Options) -> anyhow::Result<Vec<Figure>> {
    let image = options.out.join("bloomery-amd64.img");
    let raw = size(&image)
        .with_context(|| format!("failed to find {}; make it with `make image`", image.display()))?;
    let mut parts = BTreeMap::new();
    for part in PARTS {
        // Not every part lies there under this name in every version of the build.
        if let Ok(size) = size(&options.out.join(part)) {
            parts.insert(part.to_owned(), size);
        }
    }
    let figure = |name, value, goal, parts| Figure {
        name,
        unit: Unit::Megabytes,
        ours: vec![value],
        peer: None,
        goal,
        parts,
    };
    Ok(vec![
        figure("image, raw", raw, None, parts),
        figure("image, zstd", compressed(&image)?, Some(Goal::AtMost(GOAL)), BTreeMap::new()),
    ])
}

#[expect(clippy::cast_precision_loss, reason = "files are far smaller than 2⁵³ bytes")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / MEGABYTE
}

fn size(path: &Path) -> io::Result<f64> {
    Ok(megabytes(path.metadata()?.len()))
}

fn compressed(path: &Path) -> anyhow::Result<f64> {
    let file = File::open(path).with_context(|| format!("failed to open {}", path.display()))?;
    let mut counter = Counter(0);
    zstd::stream::copy_encode(BufReader::new(file), &mut counter, ZSTD_LEVEL)
        .with_context(|| format!("failed to compress {}", path.display()))?;
    Ok(megabytes(counter.0))
}

/// Counts bytes and keeps none.
struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0 += buffer.len() as u64;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
