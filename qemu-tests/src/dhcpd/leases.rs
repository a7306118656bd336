//! dhcpd's lease file, dhcpd.leases(5), as far as the lab needs it: which card has which address.
//!
//! The file is a journal: of each address the last entry counts, and one that is still being written is left out. dhcpd
//! writes it anew now and then in an order of its own, so that of several addresses of a card the times tell the newest.

use std::net::Ipv4Addr;

/// One entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub address: Ipv4Addr,
    /// The card, lower case with colons; `None` for entries without one.
    pub mac: Option<String>,
    /// Whether the entry says that the lease is in force.
    pub active: bool,
    /// When it was given: `2026/11/23 02:00:00`, which sorts.
    pub starts: String,
}

/// All complete entries, in file order.
pub fn parse(text: &str) -> Vec<Lease> {
    let mut leases = Vec::new();
    let mut current: Option<Lease> = None;
    for line in text.lines() {
        let words: Vec<&str> = line.trim().trim_end_matches(';').split_whitespace().collect();
        match (words.as_slice(), &mut current) {
            (["lease", address, "{"], _) => {
                current = address.parse().ok().map(|address| Lease {
                    address,
                    mac: None,
                    active: false,
                    starts: String::new(),
                });
            }
            (["starts", _weekday, date, time], Some(lease)) => lease.starts = format!("{date} {time}"),
            (["binding", "state", state], Some(lease)) => lease.active = *state == "active",
            (["hardware", "ethernet", mac], Some(lease)) => lease.mac = Some(mac.to_ascii_lowercase()),
            (["}"], Some(_)) => leases.extend(current.take()),
            _ => {}
        }
    }
    leases
}

/// The address of the newest lease in force of the card `mac` that no later entry has ended or given away.
pub fn newest(leases: &[Lease], mac: &str) -> Option<Ipv4Addr> {
    let in_force = leases.iter().enumerate().filter(|(index, lease)| {
        lease.active
            && lease.mac.as_deref() == Some(mac)
            && !leases[index + 1..].iter().any(|later| later.address == lease.address)
    });
    in_force.max_by_key(|(index, lease)| (&lease.starts, *index)).map(|(_, lease)| lease.address)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
# The format of this file is documented in the dhcpd.leases(5) manual page.
authoring-byte-order little-endian;

server-duid "\000\001\000\001";

lease 10.77.0.100 {
  starts 1 2026/11/23 02:00:00;
  ends 1 2026/11/23 02:10:00;
  cltt 1 2026/11/23 02:00:00;
  binding state active;
  next binding state free;
  rewind binding state free;
  hardware ethernet 52:54:00:77:00:01;
  client-hostname "bloomery";
}
lease 10.77.0.101 {
  binding state active;
  hardware ethernet 52:54:00:77:00:01;
  uid "\001RT\000w\000\001";
}
lease 10.77.0.102 {
  binding state active;
  hardware ethernet 52:54:00:77:01:01;
}
lease 10.77.0.101 {
  binding state free;
  hardware ethernet 52:54:00:77:00:01;
}
lease 10.77.0.103 {
  binding state active;
  hardware ethernet 52:54:00:77:00:01;
"#;

    #[test]
    fn later_entries_win_and_unfinished_ones_do_not_count() {
        let leases = parse(FILE);
        assert_eq!(leases.len(), 4);
        assert_eq!(newest(&leases, "52:54:00:77:00:01"), Some(Ipv4Addr::new(10, 77, 0, 100)));
        assert_eq!(newest(&leases, "52:54:00:77:01:01"), Some(Ipv4Addr::new(10, 77, 0, 102)));
        assert_eq!(newest(&leases, "52:54:00:77:01:02"), None);
    }

    #[test]
    fn address_given_to_another_card_is_lost() {
        let text = "lease 10.77.0.100 {\n binding state active;\n hardware ethernet aa:00:00:00:00:01;\n}\n\
                    lease 10.77.0.100 {\n binding state active;\n hardware ethernet aa:00:00:00:00:02;\n}\n";
        let leases = parse(text);
        assert_eq!(newest(&leases, "aa:00:00:00:00:01"), None);
        assert_eq!(newest(&leases, "aa:00:00:00:00:02"), Some(Ipv4Addr::new(10, 77, 0, 100)));
    }

    #[test]
    fn a_file_that_was_written_anew_has_no_order() {
        let text = "lease 10.77.0.102 {\n starts 1 2026/11/30 15:22:58;\n binding state active;\n hardware ethernet aa:00:00:00:00:01;\n}\n\
                    lease 10.77.0.103 {\n starts 1 2026/11/30 15:13:33;\n binding state active;\n hardware ethernet aa:00:00:00:00:01;\n}\n";
        assert_eq!(newest(&parse(text), "aa:00:00:00:00:01"), Some(Ipv4Addr::new(10, 77, 0, 102)));
    }

    proptest::proptest! {
        /// The file is read while dhcpd writes it: a cut anywhere gives the entries before it and nothing else.
        #[test]
        fn cut_file_gives_its_complete_entries(cut in 0..FILE.len()) {
            let whole = parse(FILE);
            let some = parse(&FILE[..cut]);
            proptest::prop_assert_eq!(&some[..], &whole[..some.len()]);
        }

        #[test]
        fn any_text_is_parsed_without_panic(text in "(lease |\\{|\\}|;|binding state |hardware ethernet |[0-9.]{1,5}|\\PC|\n){0,40}") {
            for lease in parse(&text) {
                newest(&[lease], "");
            }
        }
    }

    #[test]
    fn nonsense_is_no_lease() {
        for text in ["", "lease", "lease x {\n binding state active;\n}", "}\n}\n", "lease 1.2.3.4 {"] {
            assert_eq!(parse(text), [], "{text:?}");
        }
    }
}
