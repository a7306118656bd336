//! A datagram on port 67 and on 4011: parsed, decided, answered.
use bootsvc::dhcp::decide::{Admission, Listener, Means, Server, decide};
use bootsvc::dhcp::wire::Request;

/// One input.
pub fn run(datagram: &[u8]) {
    let Ok(request) = Request::parse(datagram) else { return };
    let address = [10, 77, 0, 3].into();
    let server = Server { interface: "eth0", on: address, address, http_port: 8081 };
    for listener in [Listener::Dhcp, Listener::Pxe] {
        for admission in [Admission::Denied, Admission::Ignored] {
            let means = Means { acts: true, has: &|_| true, admission };
            assert!(decide(&request, server, listener, means).is_err(), "answered although {admission:?}");
        }
        let means = Means { acts: true, has: &|_| true, admission: Admission::Served };
        if let Ok(offer) = decide(&request, server, listener, means) {
            let mut reply = Vec::new();
            offer.reply.encode(&request, &mut reply);
            assert!(reply.len() >= 300 && reply[16..20] == [0; 4], "an address was handed out");
        }
    }
}
