//! The transfer without a socket: what is granted, and which blocks go out when.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::transfer::{End, RETRY_AFTER, Step, Transfer};
use super::super::wire::{Mode, Options, ReadRequest};

fn start(options: Options, len: usize, mtu: u32, now: Instant) -> (Transfer, Step) {
    let request = ReadRequest { path: "snp.efi".to_owned(), mode: Mode::Octet, options };
    Transfer::start(&request, Bytes::from(vec![7; len]), mtu, now)
}

fn offered(options: Options, mtu: u32) -> String {
    let (transfer, step) = start(options, 1 << 20, mtu, Instant::now());
    assert_eq!(step, Step::Offer);
    String::from_utf8(transfer.offer().unwrap()[2..].to_vec()).unwrap().replace('\0', " ")
}

#[test]
fn blocks_fit_the_path_and_windows_fit_a_clients_buffer() {
    let asks = |block_size, window_size| Options {
        block_size: Some(block_size),
        window_size: Some(window_size),
        ..Options::default()
    };
    for (block, window, mtu, expected) in [
        (1468, 4, 1500, "blksize 1468 windowsize 4 "),
        (65464, 64, 1500, "blksize 1468 windowsize 64 "),
        (65464, 64, 9000, "blksize 8968 windowsize 14 "),
        (65464, 64, 65536, "blksize 65464 windowsize 2 "),
        (1468, 65535, 1400, "blksize 1368 windowsize 64 "),
        (512, 1, 68, "blksize 36 windowsize 1 "),
        // Nonsense of a broken driver.
        (512, 1, 0, "blksize 8 windowsize 1 "),
    ] {
        assert_eq!(offered(asks(block, window), mtu), expected, "{block} {window} {mtu}");
    }
}

#[test]
fn a_silent_client_is_given_up_after_five_repeats() {
    let begin = Instant::now();
    let (mut transfer, first) = start(Options::default(), 600, 1500, begin);
    assert_eq!(first, Step::Blocks(0..1));
    let mut now = begin;
    for _ in 0..5 {
        assert_eq!(transfer.tick(now + RETRY_AFTER / 2), Step::Wait);
        now += RETRY_AFTER;
        assert_eq!(transfer.tick(now), Step::Blocks(0..1));
    }
    assert_eq!(transfer.tick(now + RETRY_AFTER), Step::End(End::TimedOut));
    assert!(!transfer.has_progressed());
}

#[test]
fn block_numbers_wrap_at_65536() {
    let now = Instant::now();
    let options = Options { block_size: Some(8), window_size: Some(64), ..Options::default() };
    let (mut transfer, _) = start(options, 8 * 70_000, 1500, now);
    let mut step = transfer.acknowledge(0, now);
    let mut blocks = 0u64;
    while let Step::Blocks(range) = step {
        assert_eq!(range.start, blocks);
        blocks = range.end;
        let [.., high, low] = blocks.to_be_bytes();
        assert_eq!(transfer.block(blocks - 1).0, [0, 3, high, low]);
        step = transfer.acknowledge(u16::from_be_bytes([high, low]), now + Duration::from_millis(1));
    }
    assert_eq!((step, blocks), (Step::End(End::Complete), 70_001));
    assert_eq!(transfer.octets_acknowledged(), 8 * 70_000);
}
