//! Boot files over HTTP: 64 clients load a kernel and initramfs's worth each.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{MsgFlags, recv};

use super::{Lab, RUNS};
use crate::report::{Figure, Goal, Peer, Unit};

/// Downloads at once.
const CLIENTS: usize = 64;
/// An initramfs of Talos is about so large.
const FILE_LEN: usize = 150_000_000;
/// Longest head of an answer.
const HEAD_LEN: usize = 4096;

/// Ours and nginx with sendfile.
pub(crate) fn measure(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    let file = lab.folder().join("env/default/initramfs.xz");
    std::fs::write(file, vec![7; FILE_LEN])?;
    let folder = lab.folder().display();
    let conf = lab.folder().join("nginx.conf");
    std::fs::write(
        &conf,
        format!(
            "daemon off; user root; worker_processes 1; error_log stderr; pid {folder}/pid;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ sendfile on; tcp_nopush on; access_log off;\n\
             client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;\n\
             uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;\n\
             server {{ listen 8082; root {folder}; }} }}\n"
        ),
    )?;
    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let server = lab.start_ours()?;
        lab.until("bootsvc", || download(8081, 1))?;
        ours.push(download(8081, CLIENTS)?);
        drop(server);
        let server = lab.start(&lab.peer("nginx"), &["-c".as_ref(), conf.as_os_str()])?;
        lab.until("nginx", || download(8082, 1))?;
        peers.push(download(8082, CLIENTS)?);
        drop(server);
    }
    Ok(vec![Figure {
        name: "HTTP, 64 clients, 150 MB each",
        unit: Unit::MegabytesPerSecond,
        ours,
        peer: Some(Peer { name: "nginx, sendfile, one worker", values: peers, parts: BTreeMap::new() }),
        goal: Some(Goal::AtLeastTimesPeer(1.0)),
        parts: BTreeMap::new(),
    }])
}

/// MB/s of `count` downloads at once. What arrives is dropped in the kernel, so that the server is measured and not
/// the client's copying.
fn download(port: u16, count: usize) -> anyhow::Result<f64> {
    let begin = Instant::now();
    let mut left = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.write_all(b"GET /env/default/initramfs.xz HTTP/1.1\r\nHost: bench\r\n\r\n")?;
        left.push((stream, None));
    }
    for (stream, rest) in &mut left {
        *rest = Some(FILE_LEN - head(stream)?);
        stream.set_nonblocking(true)?;
    }
    let mut buffer = vec![0; 1 << 20];
    while !left.is_empty() {
        let mut waiting: Vec<PollFd<'_>> =
            left.iter().map(|(stream, _)| PollFd::new(stream.as_fd(), PollFlags::POLLIN)).collect();
        if poll(&mut waiting, 10_000u16).context("failed to poll")? == 0 {
            bail!("nothing arrives any more");
        }
        let ready: Vec<bool> = waiting.iter().map(|fd| fd.any() == Some(true)).collect();
        for ((stream, rest), _) in left.iter_mut().zip(&ready).filter(|(_, ready)| **ready) {
            let rest = rest.get_or_insert(FILE_LEN);
            match recv(stream.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC) {
                Ok(0) => bail!("the connection ended {rest} octets early"),
                Ok(len) => *rest = rest.checked_sub(len).context("more arrived than the file has")?,
                Err(Errno::EAGAIN) => {}
                Err(error) => bail!("failed to receive: {error}"),
            }
        }
        left.retain(|(_, rest)| *rest != Some(0));
    }
    #[allow(clippy::cast_precision_loss)]
    Ok((count * FILE_LEN) as f64 / 1e6 / begin.elapsed().as_secs_f64())
}

/// Reads the answer's head; gives the octets of the file that came with it.
fn head(stream: &mut TcpStream) -> anyhow::Result<usize> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut read = Vec::new();
    let mut buffer = [0; HEAD_LEN];
    loop {
        let len = stream.read(&mut buffer)?;
        anyhow::ensure!(len > 0, "no answer");
        read.extend_from_slice(&buffer[..len]);
        if let Some(end) = read.windows(4).position(|part| part == b"\r\n\r\n") {
            anyhow::ensure!(read.starts_with(b"HTTP/1.1 200"), "refused");
            return Ok(read.len() - end - 4);
        }
    }
}
