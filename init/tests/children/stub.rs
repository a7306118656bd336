//! A child that answers probes as it is told; everything else is done by shell scripts.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;

/// The first argument that makes this program a stub.
pub(crate) const WORD: &str = "stub";

/// `PORT [ANSWERS]`: answers 200 so many times (or for ever), then takes connections and says nothing.
/// `PORT while FILE`: answers 200 while the file is there, else takes connections and says nothing.
/// `PORT eat`: answers once, then takes memory until it gets no more.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let port: u16 = arguments[0].parse().expect("a port");
    let eats = arguments.get(1).is_some_and(|word| word == "eat");
    let file = arguments.get(2).filter(|_| arguments[1] == "while");
    let count = arguments.get(1).filter(|_| !eats && file.is_none());
    let mut answers: u64 = count.map_or(u64::MAX, |count| count.parse().expect("a number"));
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    let mut silent = Vec::new();
    for stream in listener.incoming() {
        let mut stream = stream.expect("a connection");
        if answers == 0 || file.is_some_and(|file| !Path::new(file).exists()) {
            silent.push(stream);
            continue;
        }
        answers -= 1;
        let mut request = [0; 1024];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
        if eats {
            drop(stream);
            eat();
        }
    }
    ExitCode::SUCCESS
}

/// One MiB after the other, each page written to.
fn eat() -> ! {
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    loop {
        pieces.push(vec![1; 1 << 20]);
    }
}
