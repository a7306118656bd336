//! A datagram on port 67 and on 4011: parsed, decided, answered.
#![no_main]

use bootsvc::dhcp::decide::{Listener, Means, Server, decide};
use bootsvc::dhcp::wire::Request;

libfuzzer_sys::fuzz_target!(|datagram: &[u8]| {
    let Ok(request) = Request::parse(datagram) else { return };
    let server = Server { address: [10, 77, 0, 3].into(), http_port: 8081 };
    let means = Means { acts: true, has: &|_| true };
    for listener in [Listener::Dhcp, Listener::Pxe] {
        if let Ok(offer) = decide(&request, server, listener, means) {
            let mut reply = Vec::new();
            offer.reply.encode(&request, &mut reply);
            assert!(reply.len() >= 300 && reply[16..20] == [0; 4], "an address was handed out");
        }
    }
});
