//! The transfer without a socket: what is granted, and which blocks go out when.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::transfer::{End, Path, RETRY_AFTER, Step, Transfer};
use super::super::wire::{Mode, Options, ReadRequest};

fn start(options: Options, len: usize, mtu: u32, now: Instant) -> (Transfer, Step) {
    let request = ReadRequest { path: "snp.efi".to_owned(), mode: Mode::Octet, options };
    Transfer::start(&request, Bytes::from(vec![7; len]), Path { mtu, is_proven: true }, now)
}

/// The packets that a transfer sends until it waits: one for each block, one for an offer.
fn packets(step: &Step) -> u64 {
    match step {
        Step::Wait | Step::End(_) => 0,
        Step::Offer => 1,
        Step::Blocks(blocks) => blocks.end - blocks.start,
    }
}

/// Finding 12: two packets with the address of one that never asked.
#[test]
fn a_reflector_it_is_not() {
    let options =
        Options { block_size: Some(1468), window_size: Some(64), transfer_size: true, timeout: None };
    let request = ReadRequest { path: "snp.efi".to_owned(), mode: Mode::Octet, options };
    let begin = Instant::now();
    let path = Path { mtu: 1500, is_proven: false };
    let (mut transfer, first) = Transfer::start(&request, Bytes::from(vec![7; 1 << 20]), path, begin);
    let mut sent = packets(&first) + packets(&transfer.acknowledge(0, begin));
    let mut now = begin;
    loop {
        now += RETRY_AFTER;
        match transfer.tick(now) {
            Step::End(End::TimedOut) => break,
            step => sent += packets(&step),
        }
    }
    assert_eq!(sent, 8, "the offer, a window of firmware's size, its first block three times more");
    // A request alone buys its answer four times.
    let (mut transfer, first) = start(Options::default(), 1 << 20, 1500, begin);
    let mut sent = packets(&first);
    for second in 1..10 {
        sent += packets(&transfer.tick(begin + RETRY_AFTER * second));
    }
    assert_eq!(sent, 4);
}

#[test]
fn a_timeout_repeats_one_block_and_the_acknowledgement_tells_the_rest() {
    let begin = Instant::now();
    let options = Options { window_size: Some(8), ..Options::default() };
    let (mut transfer, _) = start(options, 512 * 100, 1500, begin);
    assert_eq!(transfer.acknowledge(0, begin), Step::Blocks(0..8));
    assert_eq!(transfer.acknowledge(8, begin), Step::Blocks(8..16));
    assert_eq!(transfer.tick(begin + RETRY_AFTER), Step::Blocks(8..9));
    // The client had all of it; its acknowledgement was lost.
    let mut again = transfer.acknowledge(16, begin + RETRY_AFTER);
    assert_eq!(again, Step::Blocks(16..24));
    // It has only the block that was repeated: the rest of the window was lost.
    transfer.tick(begin + RETRY_AFTER * 2);
    again = transfer.acknowledge(17, begin + RETRY_AFTER * 2);
    assert_eq!(again, Step::Blocks(17..25));
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
fn a_silent_client_is_given_up_after_five_repeats_and_sooner_if_it_never_spoke() {
    for (progressed, repeats) in [(false, 3), (true, 5)] {
        let begin = Instant::now();
        let (mut transfer, first) = start(Options::default(), 6000, 1500, begin);
        assert_eq!(first, Step::Blocks(0..1));
        let block = u64::from(progressed);
        if progressed {
            assert_eq!(transfer.acknowledge(1, begin), Step::Blocks(1..2));
        }
        let mut now = begin;
        for _ in 0..repeats {
            assert_eq!(transfer.tick(now + RETRY_AFTER / 2), Step::Wait);
            now += RETRY_AFTER;
            assert_eq!(transfer.tick(now), Step::Blocks(block..block + 1));
        }
        assert_eq!(transfer.tick(now + RETRY_AFTER), Step::End(End::TimedOut));
        assert_eq!(transfer.has_progressed(), progressed);
    }
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
