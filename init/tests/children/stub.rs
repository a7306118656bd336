//! A child that answers probes as it is told; everything else is done by shell scripts.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::ExitCode;

/// The first argument that makes this program a stub.
pub(crate) const WORD: &str = "stub";

/// `PORT [ANSWERS]`: answers 200 so many times (or for ever), then takes connections and says nothing.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let port: u16 = arguments[0].parse().expect("a port");
    let mut answers: u64 = arguments.get(1).map_or(u64::MAX, |count| count.parse().expect("a number"));
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    let mut silent = Vec::new();
    for stream in listener.incoming() {
        let mut stream = stream.expect("a connection");
        if answers == 0 {
            silent.push(stream);
            continue;
        }
        answers -= 1;
        let mut request = [0; 1024];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
    }
    ExitCode::SUCCESS
}
