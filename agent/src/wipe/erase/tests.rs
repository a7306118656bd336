//! Against disks that lie, fail, vanish or are cut off on the way.

use std::cell::{Cell, RefCell};

use bloomery_sys::nvme::{SanitizeAction, SecureErase};

use super::*;

const MIB: u64 = 1 << 20;
const NOISE: u8 = 0xA5;

/// What one way of erasing does.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Behaviour {
    Works,
    Fails,
    /// Says that it worked, and changes nothing.
    Lies,
    /// Works up to this byte, and the disk is gone from there on.
    VanishesAt(u64),
}

/// A disk in memory with habits.
struct Fake {
    bytes: Vec<u8>,
    methods: Vec<Method>,
    format: Behaviour,
    zero_out: Behaviour,
    write: Behaviour,
    discards: bool,
    gone: bool,
    /// What was asked, in order.
    asked: Vec<&'static str>,
}

impl Fake {
    fn new(size: u64) -> Self {
        Self {
            bytes: vec![NOISE; usize::try_from(size).unwrap()],
            methods: vec![Method::SecureDiscard, Method::ZeroOut, Method::Write],
            format: Behaviour::Fails,
            zero_out: Behaviour::Works,
            write: Behaviour::Works,
            discards: false,
            gone: false,
            asked: Vec::new(),
        }
    }

    fn zero(&mut self, range: &Range<u64>, behaviour: Behaviour) -> io::Result<()> {
        let end = match behaviour {
            _ if self.gone => return Err(io::ErrorKind::NotFound.into()),
            Behaviour::Works => range.end,
            Behaviour::Lies => range.start,
            Behaviour::Fails => return Err(io::ErrorKind::Unsupported.into()),
            Behaviour::VanishesAt(at) => range.end.min(at).max(range.start),
        };
        let (start, stop) = (usize::try_from(range.start).unwrap(), usize::try_from(end).unwrap());
        self.bytes[start..stop].fill(0);
        self.gone = matches!(behaviour, Behaviour::VanishesAt(at) if range.end > at);
        if self.gone { Err(io::ErrorKind::NotFound.into()) } else { Ok(()) }
    }

    fn is_zero(&self) -> bool {
        self.bytes.iter().all(|byte| *byte == 0)
    }
}

impl Medium for Fake {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }
    fn sector(&self) -> u64 {
        512
    }
    fn discards(&self) -> bool {
        self.discards
    }
    fn methods(&self) -> Vec<Method> {
        self.methods.clone()
    }
    fn discard(&mut self, range: &Range<u64>) -> io::Result<()> {
        self.asked.push("discard");
        self.zero(range, Behaviour::Fails)
    }
    fn discard_securely(&mut self, range: &Range<u64>) -> io::Result<()> {
        self.asked.push("secure");
        self.zero(range, Behaviour::Fails)
    }
    fn zero_out(&mut self, range: &Range<u64>) -> io::Result<()> {
        self.asked.push("zero out");
        self.zero(range, self.zero_out)
    }
    fn write_zeroes(&mut self, range: &Range<u64>) -> io::Result<()> {
        self.asked.push("write");
        self.zero(range, self.write)
    }
    fn format(&mut self, _: SecureErase) -> Result<(), nvme::Error> {
        self.asked.push("format");
        self.zero(&(0..self.size()), self.format)
            .map_err(|source| nvme::Error::Send { what: "format", source })
    }
    fn sanitize(
        &mut self,
        _: SanitizeAction,
        progress: &mut dyn FnMut(u16) -> bool,
    ) -> Result<SanitizeState, nvme::Error> {
        self.asked.push("sanitize");
        if !progress(1 << 15) {
            return Ok(SanitizeState::Running(1 << 15));
        }
        Ok(SanitizeState::Failed)
    }
    fn flush(&mut self) -> io::Result<()> {
        if self.gone { Err(io::ErrorKind::NotFound.into()) } else { Ok(()) }
    }
    fn first_non_zero(&mut self, range: &Range<u64>) -> io::Result<Option<u64>> {
        let (start, end) = (usize::try_from(range.start).unwrap(), usize::try_from(range.end).unwrap());
        let found = self.bytes[start..end].iter().position(|byte| *byte != 0);
        Ok(found.map(|at| range.start + at as u64))
    }
    fn forget_partitions(&mut self) -> Result<(), bloomery_sys::block::Error> {
        Ok(())
    }
}

/// Writes down the ways, and stops after so many bytes.
#[derive(Default)]
struct Watch {
    methods: RefCell<Vec<String>>,
    done: Cell<u64>,
    stop_at: Option<u64>,
}

impl Progress for Watch {
    fn method(&self, name: &str) {
        self.methods.borrow_mut().push(name.to_owned());
    }
    fn done(&self, bytes: u64) {
        self.done.set(bytes);
    }
    fn is_cancelled(&self) -> bool {
        self.stop_at.is_some_and(|at| self.done.get() >= at)
    }
}

#[test]
fn a_fast_wipe_zeroes_the_known_places_and_nothing_else() {
    let mut disk = Fake { discards: true, ..Fake::new(80 * MIB) };
    let watch = Watch::default();
    fast(&mut disk, std::slice::from_ref(&(20 * MIB..30 * MIB)), &watch).unwrap();
    // The discard was refused, and that is no failure.
    assert_eq!(disk.asked[0], "discard");
    let zero = |at: u64| disk.bytes[usize::try_from(at).unwrap()] == 0;
    for at in [0, 4 * MIB - 1, 20 * MIB, 30 * MIB - 1, 64 * MIB, 76 * MIB, 80 * MIB - 1] {
        assert!(zero(at), "{at}");
    }
    assert!(!zero(4 * MIB) && !zero(25 * MIB) && !zero(76 * MIB - 1));
    assert_eq!(watch.done.get(), 80 * MIB);
}

#[test]
fn a_disk_that_swallows_writes_is_found_out() {
    let mut disk = Fake { write: Behaviour::Lies, ..Fake::new(8 * MIB) };
    let error = fast(&mut disk, &[], &Watch::default()).unwrap_err();
    assert!(matches!(error, Error::NotZero { at: 0 }), "{error}");
    let mut disk = Fake { zero_out: Behaviour::Lies, write: Behaviour::Lies, ..Fake::new(80 * MIB) };
    let error = full(&mut disk, &Watch::default()).unwrap_err().to_string();
    assert!(error.contains("byte 0 is not zero"), "{error}");
}

#[test]
fn a_full_wipe_falls_on_to_the_next_way_until_one_works() {
    let mut disk = Fake {
        methods: vec![
            Method::Format(SecureErase::UserData),
            Method::Sanitize(SanitizeAction::BlockErase),
            Method::SecureDiscard,
            Method::ZeroOut,
            Method::Write,
        ],
        format: Behaviour::Lies,
        zero_out: Behaviour::Lies,
        ..Fake::new(80 * MIB)
    };
    let watch = Watch::default();
    full(&mut disk, &watch).unwrap();
    assert!(disk.is_zero());
    assert_eq!(
        *watch.methods.borrow(),
        ["nvme format", "nvme sanitize", "secure discard", "zero out", "zeroes"]
    );
    assert_eq!(watch.done.get(), 80 * MIB);
}

#[test]
fn a_format_that_works_is_enough() {
    let mut disk = Fake {
        methods: vec![Method::Format(SecureErase::UserData), Method::Write],
        format: Behaviour::Works,
        ..Fake::new(80 * MIB)
    };
    full(&mut disk, &Watch::default()).unwrap();
    assert_eq!(disk.asked, ["format"]);
}

#[test]
fn a_disk_that_vanishes_midway_fails_in_both_ways() {
    let gone = Behaviour::VanishesAt(70 * MIB);
    let mut disk = Fake { zero_out: gone, write: gone, ..Fake::new(200 * MIB) };
    let error = full(&mut disk, &Watch::default()).unwrap_err().to_string();
    assert!(error.contains("at byte 67108864 (zero out)") && error.contains("(zeroes)"), "{error}");
    let mut disk = Fake { write: Behaviour::VanishesAt(MIB), ..Fake::new(80 * MIB) };
    assert!(matches!(fast(&mut disk, &[], &Watch::default()), Err(Error::Write { at: 0, .. })));
}

#[test]
fn a_cancelled_wipe_stops_at_the_next_chunk_and_tries_nothing_else() {
    let mut disk = Fake::new(300 * MIB);
    let watch = Watch { stop_at: Some(64 * MIB), ..Watch::default() };
    assert!(matches!(full(&mut disk, &watch), Err(Error::Cancelled)));
    assert_eq!(disk.asked, ["secure", "zero out"]);
    assert!(!disk.is_zero());
    let sanitize = vec![Method::Sanitize(SanitizeAction::BlockErase), Method::Write];
    let mut disk = Fake { methods: sanitize, ..Fake::new(8 * MIB) };
    let watch = Watch { stop_at: Some(4 * MIB), ..Watch::default() };
    assert!(matches!(full(&mut disk, &watch), Err(Error::Cancelled)));
    assert_eq!(disk.asked, ["sanitize"]);
}

#[test]
fn an_empty_disk_has_nothing_to_erase() {
    for outcome in
        [fast(&mut Fake::new(0), &[], &Watch::default()), full(&mut Fake::new(0), &Watch::default())]
    {
        outcome.unwrap();
    }
}
