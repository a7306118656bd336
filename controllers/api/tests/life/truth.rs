//! The truth: what is on the disks, whose it is, and whether the owner let go.

use bloomery_api::HardwareInformation;
use bloomery_api::contents::ContentsClass;
use bloomery_api::decision::identity::Marks;
use bloomery_api::decision::power::PowerAction;
use serde_json::json;

/// Whose data it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// There is none.
    Nobody,
    /// Somebody had the machine before it came.
    Stranger,
    /// A cluster, by the machine that claims.
    Cluster(String),
}

/// What is on the disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Data {
    Blank,
    Files,
    System,
}

/// What the agent of a boot shows.
#[derive(Clone, Debug)]
pub(super) struct Agent {
    pub(super) plane: usize,
    pub(super) server: String,
    pub(super) boot: [u8; 4],
    pub(super) order: Option<Vec<u8>>,
}

/// One machine.
// Facts that have nothing to do with each other.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) index: usize,
    pub(super) system_uuid: String,
    serial: String,
    cards: Vec<String>,
    /// Its iPXE does not read the UUID.
    is_nameless: bool,
    /// Its agent says what the disks hold.
    is_looked_at: bool,
    pub(super) data: Data,
    pub(super) owner: Owner,
    pub(super) let_go: bool,
    /// The plane put on record that the node is installed.
    is_known_installed: bool,
    pub(super) agent: Option<Agent>,
}

impl Machine {
    pub(super) fn new(index: usize, flags: u8, count: &mut u32) -> Self {
        let data =
            [Data::Blank, Data::Files, Data::System, Data::Blank][(index + usize::from(flags >> 1)) % 4];
        let owner = if data == Data::Blank { Owner::Nobody } else { Owner::Stranger };
        *count += 1;
        let mut machine = Self {
            index,
            system_uuid: String::new(),
            serial: String::new(),
            cards: Vec::new(),
            is_nameless: flags >> 3 & 7 == u8::try_from(index).unwrap_or(0),
            is_looked_at: flags >> 5 & 7 != u8::try_from(index).unwrap_or(0),
            data,
            owner,
            let_go: data == Data::Blank,
            is_known_installed: false,
            agent: None,
        };
        machine.change_board(*count, true, true);
        machine
    }

    /// Another UUID; other cards and another serial number if those are on the board.
    pub(super) fn change_board(&mut self, number: u32, cards: bool, serial: bool) {
        self.system_uuid = format!("4c4c4544-0042-3110-8051-b7c0{number:08x}");
        if cards {
            self.cards = vec![format!("52:54:00:77:{:02x}:{:02x}", number >> 8 & 0xff, number & 0xff)];
        }
        if serial {
            self.serial =
                if number.is_multiple_of(3) { "Default string".to_owned() } else { format!("SN{number}") };
        }
        self.agent = None;
    }

    /// What its firmware says.
    pub(super) fn query(&self) -> Marks {
        let uuid = (!self.is_nameless).then_some(self.system_uuid.as_str());
        Marks::of_query(uuid, self.cards.first().map(String::as_str), Some(&self.serial))
    }

    /// What its agent says.
    pub(super) fn marks(&self) -> Marks {
        Marks::of_hardware(Some(&self.system_uuid), &self.hardware())
    }

    pub(super) fn hardware(&self) -> HardwareInformation {
        let found: &[&str] = match self.data {
            Data::Blank => &[],
            Data::Files => &["gpt", "ext4"],
            Data::System => &["gpt", "talos-state"],
        };
        let interfaces: Vec<_> = self.cards.iter().map(|mac| json!({ "mac": mac })).collect();
        let mut disk = json!({ "deviceName": "/dev/sda", "productName": "M", "serialNumber": format!("D{}", self.index) });
        if self.is_looked_at {
            disk["contents"] = json!({ "found": found });
        }
        let hardware = json!({
            "system": { "uuid": self.system_uuid, "serialNumber": self.serial },
            "storage": { "devices": [disk] },
            "network": { "interfaces": interfaces },
        });
        serde_json::from_value(hardware).unwrap_or_default()
    }

    fn may_be_written(&self) -> bool {
        self.let_go || self.data == Data::Blank && !matches!(self.owner, Owner::Cluster(_))
    }

    /// All disks are wiped.
    pub(super) fn is_wiped(&mut self) -> Result<(), String> {
        if !self.may_be_written() {
            return Err(format!("machine {} is wiped: {self:?}", self.index));
        }
        (self.data, self.owner, self.let_go) = (Data::Blank, Owner::Nobody, true);
        self.is_known_installed = false;
        Ok(())
    }

    /// It is given the node system of this claimant, which writes to its disks.
    pub(super) fn is_given_to(&mut self, claimant: &str) -> Result<(), String> {
        let is_its = self.owner == Owner::Cluster(claimant.to_owned()) && !self.is_known_installed;
        if !is_its && !self.may_be_written() {
            return Err(format!("machine {} is given an Environment for {claimant}: {self:?}", self.index));
        }
        if !is_its {
            self.is_known_installed = false;
        }
        (self.data, self.owner, self.let_go) = (Data::System, Owner::Cluster(claimant.to_owned()), false);
        Ok(())
    }

    /// Its power is switched by a command that ends what runs.
    pub(super) fn is_switched(&self, action: PowerAction) -> Result<(), String> {
        let runs = matches!(self.owner, Owner::Cluster(_)) && !self.let_go;
        if runs && matches!(action, PowerAction::PowerOff | PowerAction::PxeCycle) {
            return Err(format!("machine {} runs a node and gets {action:?}: {self:?}", self.index));
        }
        Ok(())
    }

    pub(super) fn installation_is_on_record(&mut self) {
        self.is_known_installed = matches!(self.owner, Owner::Cluster(_));
    }

    /// A person accepted it, and was shown this.
    pub(super) fn accepted_with(&mut self, shown: ContentsClass) {
        let covered = shown.is_covered_by_acceptance(false) && self.data != Data::System;
        if self.owner == Owner::Stranger && covered {
            self.let_go = true;
        }
    }

    pub(super) fn owner_lets_go(&mut self, cluster: &str) {
        if self.owner == Owner::Cluster(cluster.to_owned()) {
            self.let_go = true;
        }
    }
}
