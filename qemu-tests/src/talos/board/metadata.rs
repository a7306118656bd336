//! The machine configuration from the URL in the kernel's arguments, asked for as Talos on metal does.
//!
//! An answer without content is no configuration, whatever its status.

use crate::simulate::{
    config::Target,
    fetch::{Http, Want},
    inventory::Identity,
};
use std::{
    net::SocketAddrV4,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// The kernel argument.
const ARGUMENT: &str = "talos.config=";
/// Waits between two tries: from the first to the longest, as measured at Talos.
const FIRST_WAIT: Duration = Duration::from_millis(1500);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Then Talos gives up and restarts.
const LIMIT: Duration = Duration::from_mins(3);

/// Asks until there is a configuration.
pub(super) async fn fetch(
    identity: &Identity,
    target: &Target,
    arguments: &[String],
) -> Result<Vec<u8>, String> {
    let url = arguments.iter().find_map(|argument| argument.strip_prefix(ARGUMENT));
    let url = url.ok_or_else(|| format!("the kernel has no argument {ARGUMENT}"))?;
    let url = expand(url, identity);
    super::say(&format!("fetches its configuration from {}", without_secrets(&url)));
    let plane = SocketAddrV4::new(target.address, target.http_port).into();
    let began = Instant::now();
    let mut wait = FIRST_WAIT;
    loop {
        // A connection for each try, as Talos has it.
        let mut http = Http::new(identity.address, plane);
        let path = http.path_of(&url).map_err(|trouble| trouble.to_string())?;
        let problem = match http.get(&path, Want::All).await {
            Ok(answer) if answer.status == 200 && answer.len > 0 => {
                if answer.head.len() as u64 == answer.len {
                    return Ok(answer.head);
                }
                format!("{} octets are too many", answer.len)
            }
            Ok(answer) => format!("HTTP status {}, {} octets", answer.status, answer.len),
            // Its text has the path, and that a token.
            Err(_) => "no answer".to_owned(),
        };
        super::say(&format!("no configuration: {problem}; asks again in {:.1} s", wait.as_secs_f64()));
        if began.elapsed() > LIMIT {
            return Err(problem);
        }
        sleep(wait).await;
        wait = (2 * wait).min(LONGEST_WAIT);
    }
}

/// The URL with the values that Talos puts in: an empty `uuid` and the variables of its documentation.
fn expand(url: &str, identity: &Identity) -> String {
    let uuid = identity.uuid.to_string();
    let variables = [
        ("${uuid}", uuid.clone()),
        ("${serial}", identity.serial()),
        ("${mac}", identity.mac_text(':')),
        ("${hostname}", identity.hostname()),
    ];
    let url = variables.iter().fold(url.to_owned(), |url, (name, value)| url.replace(name, value));
    let Some((base, query)) = url.split_once('?') else { return url };
    let fields = query.split('&').map(|field| match field {
        "uuid=" | "uuid" => format!("uuid={uuid}"),
        field => field.to_owned(),
    });
    format!("{base}?{}", fields.collect::<Vec<_>>().join("&"))
}

/// For the console: a token is for the machine alone.
fn without_secrets(url: &str) -> &str {
    url.split('&').next().unwrap_or(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::config::Firmware;

    #[test]
    fn talos_puts_its_uuid_where_the_url_leaves_room() {
        let identity = Identity::new(3, [10, 77, 0, 203].into(), Firmware::Uefi);
        let uuid = identity.uuid.to_string();
        for (given, want) in [
            ("http://a/configdata?uuid=", format!("http://a/configdata?uuid={uuid}")),
            ("http://a/configdata?uuid=&token=x", format!("http://a/configdata?uuid={uuid}&token=x")),
            ("http://a/configdata?uuid=7", "http://a/configdata?uuid=7".to_owned()),
            ("http://a/c?u=${uuid}&m=${mac}", format!("http://a/c?u={uuid}&m=52:54:51:00:00:03")),
            ("http://a/c", "http://a/c".to_owned()),
        ] {
            assert_eq!(expand(given, &identity), want);
        }
        assert_eq!(without_secrets("http://a/c?uuid=1&token=x"), "http://a/c?uuid=1");
    }
}
