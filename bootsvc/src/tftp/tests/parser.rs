//! The packet parser and the names.

use proptest::prelude::*;

use super::super::decide::{File, find};
use super::super::wire::{Mode, Options, Packet, ParseError, ReadRequest};
use crate::loaders::Loader;

fn read(body: &[u8]) -> Result<Packet, ParseError> {
    Packet::parse(&[b"\x00\x01", body].concat())
}

#[test]
fn reads_a_request_with_options() {
    let request =
        read(b"d/snp.efi\0OcTeT\0tsize\x000\0BLKSIZE\x001468\0windowsize\x004\0timeout\x003\0x\0y\0");
    assert_eq!(
        request,
        Ok(Packet::Read(ReadRequest {
            path: "d/snp.efi".to_owned(),
            mode: Mode::Octet,
            options: Options {
                block_size: Some(1468),
                timeout: Some(3),
                transfer_size: true,
                window_size: Some(4)
            },
        }))
    );
}

#[test]
fn leaves_out_options_that_make_no_sense() {
    let request = read(b"f\0octet\0blksize\x007\0windowsize\x000\0timeout\x00256\0tsize\0x\0blksize");
    let Ok(Packet::Read(request)) = request else { panic!("{request:?}") };
    assert_eq!(request.options, Options::default());
}

#[test]
fn names_what_is_wrong() {
    assert_eq!(Packet::parse(b""), Err(ParseError::TooShort));
    assert_eq!(Packet::parse(b"\x00"), Err(ParseError::TooShort));
    assert_eq!(Packet::parse(b"\x00\x04\x00"), Err(ParseError::TooShort));
    assert_eq!(Packet::parse(b"\x00\x07"), Err(ParseError::Opcode(7)));
    assert_eq!(read(b"f"), Err(ParseError::Text));
    assert_eq!(read(b"f\0octet"), Err(ParseError::Text));
    assert_eq!(read(b"\xff\0octet\0"), Err(ParseError::Text));
    assert_eq!(read(b"f\0mail\0"), Err(ParseError::Mode));
    assert_eq!(read(&[b'a'; 513]), Err(ParseError::TooLong));
}

#[test]
fn only_listed_names_exist() {
    for (path, expected) in [
        ("snp.efi", Some(File::Loader(Loader::SnpX86))),
        ("/snp.efi", Some(File::Loader(Loader::SnpX86))),
        ("\\snp-arm64.efi", Some(File::Loader(Loader::SnpArm64))),
        ("./undionly.kpxe.0", Some(File::Loader(Loader::Undionly))),
        ("autoexec.ipxe", Some(File::Script)),
        ("n/sid/autoexec.ipxe", Some(File::Script)),
        ("r\\trixie\\autoexec.ipxe", Some(File::Script)),
        ("", None),
        ("/", None),
        ("autoexec.ipxe/x", None),
        ("../../etc/passwd", None),
        ("../snp.efi", None),
        ("..\\..\\snp.efi", None),
        ("d/snp.efi", Some(File::Loader(Loader::SnpX86))),
        ("d/../snp.efi", None),
    ] {
        assert_eq!(find(path), expected, "{path:?}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(octets in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = Packet::parse(&octets);
    }

    #[test]
    fn arbitrary_requests_never_panic(tail in prop::collection::vec(any::<u8>(), 0..200), path in ".{0,40}") {
        let body = [path.as_bytes(), b"\0octet\0", &tail].concat();
        if let Ok(Packet::Read(request)) = read(&body) {
            let _ = find(&request.path);
        }
    }
}
