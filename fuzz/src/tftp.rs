//! A datagram on port 69; a read request is played to its end by a client that acknowledges what it likes.
use std::time::{Duration, Instant};

use bootsvc::tftp::transfer::{Path, Step, Transfer};
use bootsvc::tftp::wire::Packet;

/// One input.
pub fn run(datagram: &[u8]) {
    let Ok(Packet::Read(request)) = Packet::parse(datagram) else { return };
    let _ = bootsvc::tftp::decide::find(&request.path);
    let (file, mut now) = (vec![7u8; 4096].into(), Instant::now());
    let path = Path { mtu: 1500, is_proven: datagram.len().is_multiple_of(2) };
    let (mut transfer, mut step) = Transfer::start(&request, file, path, now);
    for &octet in datagram.iter().rev().take(64) {
        now += Duration::from_millis(100);
        match &step {
            Step::Blocks(blocks) => {
                assert!(path.is_proven || blocks.clone().count() <= 4, "a window for nobody");
                for index in blocks.clone() {
                    assert!(transfer.block(index).1.len() + 4 <= transfer.packet_len());
                }
            }
            Step::Offer => assert!(transfer.offer().is_some()),
            Step::Wait => {}
            Step::End(_) => return,
        }
        step = if octet == 0xff { transfer.tick(now) } else { transfer.acknowledge(octet.into(), now) };
    }
}
