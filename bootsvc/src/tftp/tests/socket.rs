//! A server on loopback, spoken to packet by packet.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;

use super::super::serve::Server;
use crate::advertise::Advertise;
use crate::edge::Edge;
use crate::loaders::LoaderStore;
use crate::metrics::Metrics;

/// What `snp.efi` holds in these tests: not a multiple of any block size used.
fn loader() -> Vec<u8> {
    (0u32..10_001).map(|index| index.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect()
}

/// How long a client waits before it repeats its last packet; firmware waits four seconds.
const CLIENT_PATIENCE: Duration = Duration::from_millis(2500);

struct Lab {
    server: SocketAddr,
    metrics: Arc<Metrics>,
    _directory: tempfile::TempDir,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Lab {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("snp.efi"), loader()).unwrap();
        std::fs::write(directory.path().join("ipxe.efi"), vec![7; 1024]).unwrap();
        let edge = Edge::new(Advertise::new(None, 8081).0, LoaderStore::new(directory.path()));
        let metrics = edge.metrics.clone();
        let server = Server::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0), edge).unwrap();
        let port = server.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            server.run().await.unwrap();
        });
        Self { server: (Ipv4Addr::LOCALHOST, port).into(), metrics, _directory: directory, task }
    }

    async fn client(&self) -> Client {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        Client { socket, server: self.server }
    }
}

struct Client {
    socket: UdpSocket,
    server: SocketAddr,
}

impl Client {
    async fn send(&self, packet: &[u8]) {
        self.socket.send_to(packet, self.server).await.unwrap();
    }

    async fn request(&self, path: &str, options: &[(&str, &str)]) {
        let mut packet = vec![0, 1];
        for text in
            [path, "octet"].into_iter().chain(options.iter().flat_map(|(name, value)| [*name, *value]))
        {
            packet.extend_from_slice(text.as_bytes());
            packet.push(0);
        }
        self.send(&packet).await;
    }

    async fn acknowledge(&self, block: u16) {
        let [high, low] = block.to_be_bytes();
        self.send(&[0, 4, high, low]).await;
    }

    /// The next packet; it must come from the port that was asked.
    async fn receive(&self) -> Vec<u8> {
        let mut buffer = vec![0; 70_000];
        let patience = std::env::var("PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
        let limit = Duration::from_secs(10).mul_f64(patience);
        let received = tokio::time::timeout(limit, self.socket.recv_from(&mut buffer)).await;
        let (len, source) = received.expect("no packet from the server").unwrap();
        assert_eq!(source, self.server, "answer from another address or port");
        buffer.truncate(len);
        buffer
    }

    async fn data(&self, block: u16) -> Vec<u8> {
        let packet = self.receive().await;
        assert_eq!(packet[..4], [[0, 3], block.to_be_bytes()].concat(), "expected DATA {block}");
        packet[4..].to_vec()
    }

    async fn error(&self) -> (u16, String) {
        let packet = self.receive().await;
        assert_eq!(packet[..2], [0, 5], "expected ERROR, got {packet:?}");
        let text = packet[4..].strip_suffix(b"\0").unwrap();
        (u16::from_be_bytes([packet[2], packet[3]]), String::from_utf8(text.to_vec()).unwrap())
    }

    async fn option_ack(&self) -> Vec<(String, String)> {
        let packet = self.receive().await;
        assert_eq!(packet[..2], [0, 6], "expected OACK, got {packet:?}");
        let texts: Vec<String> = packet[2..]
            .split(|&octet| octet == 0)
            .map(|text| String::from_utf8(text.to_vec()).unwrap())
            .collect();
        texts.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
    }

    /// Downloads the loader with options, as a client does that may lose one packet of eight each way.
    async fn download(&self, options: &[(&str, &str)], lossy: bool, seed: u32) -> Vec<u8> {
        let mut state = seed.wrapping_mul(2_654_435_761) | 1;
        let mut lost = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            lossy && state.is_multiple_of(8)
        };
        self.request("snp.efi", options).await;
        let mut file = Vec::new();
        let mut expected = 1u16;
        loop {
            let Ok(packet) = tokio::time::timeout(CLIENT_PATIENCE, self.receive()).await else {
                // As firmware does: it repeats what it said last.
                if expected == 1 {
                    self.request("snp.efi", options).await;
                } else {
                    self.acknowledge(expected - 1).await;
                }
                continue;
            };
            if lost() {
                continue;
            }
            let block = match packet[..2] {
                [0, 6] => 0,
                _ => u16::from_be_bytes([packet[2], packet[3]]),
            };
            let mut is_end = false;
            if packet[..2] == [0, 3] && block == expected {
                file.extend_from_slice(&packet[4..]);
                is_end = packet.len() < 4 + 1024;
                expected += 1;
            }
            // Out of order, or the end: say what is here. The last one must arrive.
            if is_end || !lost() {
                self.acknowledge(expected - 1).await;
            }
            if is_end {
                return file;
            }
        }
    }

    /// Takes a whole file in lockstep, from its first block.
    async fn take(&self, block_size: usize) -> Vec<u8> {
        let mut file = Vec::new();
        for block in 1.. {
            let data = self.data(block).await;
            self.acknowledge(block).await;
            file.extend_from_slice(&data);
            if data.len() < block_size {
                break;
            }
        }
        file
    }
}

#[tokio::test]
async fn sends_a_file_in_lockstep_without_options() {
    let lab = Lab::start();
    let client = lab.client().await;
    client.request("snp.efi", &[]).await;
    assert_eq!(client.take(512).await, loader());
}

#[tokio::test]
async fn a_file_of_whole_blocks_ends_with_an_empty_one() {
    let lab = Lab::start();
    let client = lab.client().await;
    client.request("ipxe.efi", &[]).await;
    assert_eq!(client.take(512).await.len(), 1024);
}

#[tokio::test]
async fn grants_options_within_its_limits() {
    let lab = Lab::start();
    let client = lab.client().await;
    client.request("snp.efi", &[("tsize", "0"), ("blksize", "65464"), ("utimeout", "5")]).await;
    let granted = client.option_ack().await;
    let expected = [("blksize", "65464"), ("tsize", "10001")];
    assert_eq!(granted, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    client.acknowledge(0).await;
    assert_eq!(client.take(65464).await, loader());
}

/// What every UEFI does: ask for the size, end that with ERROR, then download from the same port.
#[tokio::test]
async fn a_size_probe_ended_by_error_leaves_the_port_free() {
    let lab = Lab::start();
    let client = lab.client().await;
    client.request("snp.efi", &[("tsize", "0")]).await;
    assert_eq!(client.option_ack().await, [("tsize".to_owned(), "10001".to_owned())]);
    client.send(b"\x00\x05\x00\x08User aborted\0").await;
    client.request("snp.efi", &[("blksize", "1468"), ("windowsize", "4")]).await;
    assert_eq!(client.option_ack().await.len(), 2);
    client.acknowledge(0).await;
    for block in 1..=4 {
        client.data(block).await;
    }
    client.acknowledge(4).await;
    let mut last = Vec::new();
    for block in 5..=7 {
        last = client.data(block).await;
    }
    assert_eq!(last, loader()[6 * 1468..]);
    client.acknowledge(7).await;
}

#[tokio::test]
async fn sends_the_rest_of_a_window_again_from_the_block_that_was_lost() {
    let lab = Lab::start();
    let client = lab.client().await;
    client.request("snp.efi", &[("windowsize", "4")]).await;
    client.option_ack().await;
    client.acknowledge(0).await;
    for block in 1..=4 {
        client.data(block).await;
    }
    // Block 3 was lost: the client acknowledges what it has in order.
    client.acknowledge(2).await;
    for block in 3..=6 {
        client.data(block).await;
    }
    // The first block of the window was lost: the same acknowledgement again.
    client.acknowledge(6).await;
    for block in 7..=10 {
        client.data(block).await;
    }
    client.acknowledge(6).await;
    for block in 7..=10 {
        client.data(block).await;
    }
}

#[tokio::test]
async fn repeats_what_was_not_acknowledged() {
    let lab = Lab::start();
    let client = lab.client().await;
    client.request("snp.efi", &[("timeout", "1")]).await;
    client.option_ack().await;
    // Neither the OACK nor the first block is acknowledged: both come again by themselves.
    client.option_ack().await;
    client.acknowledge(0).await;
    let first = client.data(1).await;
    assert_eq!(client.data(1).await, first);
    client.acknowledge(1).await;
    client.data(2).await;
}

/// Case F25: a machine that was reset in the middle asks again from the same port.
#[tokio::test]
async fn a_new_request_from_the_same_port_ends_the_old_transfer() {
    let lab = Lab::start();
    let client = lab.client().await;
    let options = [("blksize", "1468"), ("tsize", "0")];
    client.request("snp.efi", &options).await;
    client.option_ack().await;
    client.acknowledge(0).await;
    for block in 1..=3 {
        client.data(block).await;
        client.acknowledge(block).await;
    }
    client.data(4).await;
    // Repeated after a second: longer than the network needs to duplicate a packet.
    client.data(4).await;
    client.request("snp.efi", &options).await;
    assert_eq!(client.option_ack().await.len(), 2, "the new transfer's answer comes first");
    client.acknowledge(0).await;
    assert_eq!(client.take(1468).await, loader());
}

#[tokio::test]
async fn names_below_a_directory_and_in_upper_case_are_found() {
    let lab = Lab::start();
    for path in ["/tftpboot/snp.efi", "\\BOOT\\SNP.EFI"] {
        let client = lab.client().await;
        client.request(path, &[]).await;
        assert_eq!(client.take(512).await, loader(), "{path}");
    }
}

#[tokio::test]
async fn a_repeated_acknowledgement_does_not_double_the_traffic() {
    let lab = Lab::start();
    let client = lab.client().await;
    client.request("snp.efi", &[]).await;
    client.data(1).await;
    client.acknowledge(1).await;
    client.acknowledge(1).await;
    client.data(2).await;
    client.acknowledge(2).await;
    client.data(3).await;
    client.acknowledge(3).await;
    client.data(4).await;
}

#[tokio::test]
async fn acknowledgements_of_blocks_never_sent_are_ignored() {
    let lab = Lab::start();
    let client = lab.client().await;
    client.request("snp.efi", &[]).await;
    client.data(1).await;
    client.acknowledge(9).await;
    client.acknowledge(65_535).await;
    client.acknowledge(1).await;
    client.data(2).await;
}

#[tokio::test]
async fn refuses_what_does_not_exist_and_what_would_write() {
    let lab = Lab::start();
    let client = lab.client().await;
    for path in ["../../etc/passwd", "../snp.efi", "/etc/passwd", "nosuch.efi", "", "undionly.kpxe"] {
        client.request(path, &[]).await;
        assert_eq!(client.error().await.0, 1, "{path}");
    }
    client.send(b"\x00\x02snp.efi\0octet\0").await;
    assert_eq!(client.error().await, (1, "server does not support write requests".to_owned()));
    client.send(b"\x00\x01snp.efi\0mail\0").await;
    assert_eq!(client.error().await.0, 4);
}

#[tokio::test]
async fn a_file_is_sent_as_text_when_asked() {
    let lab = Lab::start();
    let client = lab.client().await;
    client.send(b"\x00\x01autoexec.ipxe\0NetASCII\0").await;
    let text = String::from_utf8(client.take(512).await).unwrap();
    assert!(text.starts_with("#!ipxe\r\n") && text.ends_with("reboot\r\n"), "{text}");
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
}

#[tokio::test]
async fn requests_for_text_which_cost_a_copy_of_the_file_are_few_at_once() {
    let lab = Lab::start();
    let (mut clients, mut served, mut refused) = (Vec::new(), 0, 0);
    for _ in 0..40 {
        let client = lab.client().await;
        client.send(b"\x00\x01snp.efi\0netascii\0").await;
        match client.receive().await[..2] {
            [0, 3] => served += 1,
            [0, 5] => refused += 1,
            ref other => panic!("{other:?}"),
        }
        // Kept, so that no address is used twice.
        clients.push(client);
    }
    assert_eq!((served, refused), (32, 8));
    let client = lab.client().await;
    client.request("snp.efi", &[]).await;
    assert_eq!(client.data(1).await.len(), 512, "files as they are go on");
}

#[tokio::test]
async fn bad_packets_never_stop_it() {
    let lab = Lab::start();
    let client = lab.client().await;
    let junk: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x00\x01",
        b"\x00\x01\xff\xff",
        b"\x00\x03\x00\x01x",
        b"\x00\x06a\0b\0",
        b"\xff\xff\xff\xff",
        b"\x00\x04\x00\x07",
    ];
    for packet in junk {
        client.send(packet).await;
    }
    client.send(&[0; 1400]).await;
    let other = lab.client().await;
    other.request("snp.efi", &[("blksize", "1468")]).await;
    other.option_ack().await;
    other.acknowledge(0).await;
    assert_eq!(other.take(1468).await, loader());
    assert!(lab.metrics.tftp_malformed.get() >= 5);
    // The last acknowledgement may still be on its way.
    for _ in 0..1000 {
        if lab.metrics.series(r#"bootsvc_tftp_transfers_total{result="complete"}"#) == Some(1) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the transfer does not count as complete");
}

#[tokio::test]
async fn the_script_names_the_address_that_was_asked() {
    let lab = Lab::start();
    let client = lab.client().await;
    client.request("d/autoexec.ipxe", &[("blksize", "1468")]).await;
    client.option_ack().await;
    client.acknowledge(0).await;
    let script = String::from_utf8(client.take(1468).await).unwrap();
    assert!(script.starts_with("#!ipxe\n"));
    assert!(script.contains("http://127.0.0.1:8081/ipxe?uuid=${uuid}"), "{script}");
}

#[tokio::test]
async fn serves_hundreds_of_clients_at_once_even_when_packets_are_lost() {
    let lab = Lab::start();
    let mut tasks = tokio::task::JoinSet::new();
    // Each third loses packets both ways; what is lost comes again.
    for number in 0..300u32 {
        let client = lab.client().await;
        tasks.spawn(async move {
            let lossy = number % 3 == 0;
            let window = if number % 2 == 0 { "1" } else { "4" };
            let file = client.download(&[("blksize", "1024"), ("windowsize", window)], lossy, number).await;
            assert_eq!(file, loader(), "client {number}");
        });
    }
    tasks.join_all().await;
}
