//! A Redfish BMC: sushy-emulator with its fake driver, installed by `scripts/setup`.

use std::fmt::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;

use bloomery_power::Bmc;
use bloomery_power::endpoint::{Origin, Scheme};
use bloomery_power::identity::Identity;
use bloomery_power::ipmi::Credentials;
use bloomery_power::redfish::Redfish;
use tempfile::TempDir;

use bloomery_testkit::{Process, eventually};

/// UUIDs of the two machines.
pub(crate) const MACHINES: [&str; 2] =
    ["38947555-7742-3448-3784-823347823834", "11111111-2222-3333-4444-555555555555"];
/// bcrypt of `secret`, four rounds.
const PASSWORD_FILE: &str = "admin:$2b$04$KToFO8p5PfWdWMzi3Oa1N.lKAWce1ObaTLUiDzpjipIa62Nj2ykO2\n";
const STARTS: usize = 5;

/// A running BMC with the user `admin`, password `secret`.
pub(crate) struct Sushy {
    pub(crate) origin: Origin,
    _directory: TempDir,
    _process: Process,
}

pub(crate) fn credentials(pass: &str) -> Credentials {
    Credentials { user: "admin".into(), pass: pass.into() }
}

impl Sushy {
    /// Starts one and waits until it answers.
    pub(crate) async fn start(scheme: Scheme) -> Self {
        for _ in 0..STARTS {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
            let directory = tempfile::tempdir().unwrap();
            let mut process = spawn(directory.path(), port, scheme);
            let origin = Origin { scheme, host: "127.0.0.1".to_owned(), port };
            let client = driver_at(&origin, MACHINES[0], "secret");
            let ready = eventually("sushy-emulator answers", async || match process.ended() {
                Some(why) => Ok(Err(why)),
                None => match client.power_state().await {
                    // Over plain HTTP no password is sent, so that nothing is read.
                    Err(error) if error.category() == "insecure" => Ok(Ok(())),
                    read => read.map(|_| Ok(())).map_err(|error| format!("{error:?}")),
                },
            })
            .await;
            match ready {
                Ok(()) => return Self { origin, _directory: directory, _process: process },
                Err(why) => eprintln!("sushy-emulator ended, trying another port: {why}"),
            }
        }
        panic!("failed to start sushy-emulator {STARTS} times");
    }

    /// A driver for machine `uuid`.
    pub(crate) fn driver(&self, uuid: &str, pass: &str) -> Redfish {
        driver_at(&self.origin, uuid, pass)
    }
}

fn driver_at(origin: &Origin, uuid: &str, pass: &str) -> Redfish {
    Redfish::new(origin.clone(), Identity::of(uuid), credentials(pass), None)
}

fn spawn(directory: &Path, port: u16, scheme: Scheme) -> Process {
    let path = |name: &str| directory.join(name).display().to_string();
    let machine = |uuid: &str, name: &str| {
        format!(
            "{{'uuid': '{uuid}', 'name': '{name}', 'power_state': 'Off', 'nics': [{{'mac': '00:5c:52:31:3a:9c', 'ip': '192.0.2.1'}}]}}"
        )
    };
    let mut config = format!(
        "SUSHY_EMULATOR_LISTEN_IP = '127.0.0.1'\nSUSHY_EMULATOR_LISTEN_PORT = {port}\n\
         SUSHY_EMULATOR_STATE_DIR = '{}'\nSUSHY_EMULATOR_AUTH_FILE = '{}'\n\
         SUSHY_EMULATOR_FAKE_SYSTEMS = [{}, {}]\n",
        directory.display(),
        path("users"),
        machine(MACHINES[0], "one"),
        machine(MACHINES[1], "two"),
    );
    if scheme == Scheme::Https {
        let made = rcgen::generate_simple_self_signed(vec!["a-name-nobody-asked-for".to_owned()]).unwrap();
        std::fs::write(path("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let (cert, key) = (path("cert.pem"), path("key.pem"));
        writeln!(config, "SUSHY_EMULATOR_SSL_CERT = '{cert}'\nSUSHY_EMULATOR_SSL_KEY = '{key}'").unwrap();
    }
    std::fs::write(path("users"), PASSWORD_FILE).unwrap();
    std::fs::write(path("config"), config).unwrap();
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../out/tools/sushy/bin/sushy-emulator");
    // A script of the environment names its interpreter with the path at which it was installed.
    let mut command = Command::new(tool.with_file_name("python"));
    command.arg(&tool).args(["--fake", "--config", &path("config")]);
    Process::start("sushy", directory, &mut command)
}
