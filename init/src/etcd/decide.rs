//! Decides from one look at etcd's database what PID 1 does about it. Pure.

use std::time::Duration;

/// Of the quota: from here on the file is made smaller before etcd refuses writes.
const EARLY_PERCENT: u64 = 75;
/// Of the quota: content (not history, not free pages) beyond this needs a person.
const FULL_PERCENT: u64 = 90;
/// Between attempts before the quota is reached: each stops etcd for seconds.
pub const EARLY_PAUSE: Duration = Duration::from_mins(10);
/// Between attempts while writes are refused and the last attempt did not help for good.
pub const REFUSED_PAUSE: Duration = Duration::from_secs(30);
/// Writes between two looks that a pause of a second or two would hold up: with fewer it is quiet.
const QUIET_WRITES: i64 = 100;
/// Octets that the file loses at least when it is made smaller because it is mostly free: its pages are memory, too.
const WORTH_BYTES: u64 = 32 << 20;

/// One look at the database, in octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Look {
    /// The file, free pages and history included: what the quota counts.
    pub size: u64,
    /// Without free pages.
    pub in_use: u64,
    /// The quota; 0 if etcd does not say.
    pub quota: u64,
    /// etcd takes no writes (alarm NOSPACE).
    pub no_space: bool,
    /// etcd has found damage (alarm CORRUPT).
    pub corrupt: bool,
    pub revision: i64,
}

impl Look {
    fn reaches(octets: u64, percent: u64, quota: u64) -> bool {
        quota > 0 && u128::from(octets) * 100 >= u128::from(quota) * u128::from(percent)
    }

    /// Whether the file should be made smaller.
    fn is_large(&self) -> bool {
        Self::reaches(self.size, EARLY_PERCENT, self.quota)
    }

    /// Whether at least half of the file, and not just a little, are free pages.
    fn is_mostly_free(&self) -> bool {
        let free = self.size.saturating_sub(self.in_use);
        free >= WORTH_BYTES && free >= self.in_use
    }

    /// Whether even a file without free pages is nearly as large as it may be.
    pub fn is_full(&self) -> bool {
        Self::reaches(self.in_use, FULL_PERCENT, self.quota)
    }
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Rest,
    /// Compact, defragment, and take the alarm back if there is one.
    MakeRoom,
    /// Defragment: what a burst of writes left is compacted by etcd itself, but stays in the file.
    Shrink,
    /// Damage: a person has to look, and nothing is touched.
    LeaveDamage,
}

/// What is known from before, since PID 1 started.
#[derive(Debug, Clone, Copy, Default)]
pub struct Past {
    /// The time since room was made last.
    pub since_room: Option<Duration>,
    /// The time since the file was made smaller last because it was mostly free. It does not keep room from being made.
    pub since_shrink: Option<Duration>,
    /// The revision at the look before.
    pub revision: Option<i64>,
}

impl Past {
    fn is_quiet(&self, look: &Look) -> bool {
        self.revision.is_some_and(|last| look.revision.saturating_sub(last) < QUIET_WRITES)
    }
}

/// Decides.
pub fn step(look: &Look, past: &Past) -> Step {
    let rested = |since: Option<Duration>, pause: Duration| since.is_none_or(|since| since >= pause);
    let may_make_room = |pause| rested(past.since_room, pause);
    if look.corrupt {
        Step::LeaveDamage
    } else if look.no_space && may_make_room(REFUSED_PAUSE) || look.is_large() && may_make_room(EARLY_PAUSE) {
        Step::MakeRoom
    } else if !look.no_space
        && look.is_mostly_free()
        && past.is_quiet(look)
        && may_make_room(EARLY_PAUSE)
        && rested(past.since_shrink, EARLY_PAUSE)
    {
        Step::Shrink
    } else {
        Step::Rest
    }
}

/// Whether etcd is to have the reserve beyond its usual quota: content that alone reaches the quota could not even be
/// deleted, because objects with finalizers take a last write. It keeps it until half of the quota is free.
pub fn needs_reserve(look: &Look, has_reserve: bool, usual_quota: u64) -> bool {
    if has_reserve {
        look.size >= usual_quota / 2
    } else {
        look.no_space && !look.corrupt && look.quota > 0 && look.size >= look.quota
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: u64 = 1 << 30;

    fn look(percent: u64, in_use_percent: u64, no_space: bool) -> Look {
        Look {
            size: QUOTA / 100 * percent + 100,
            in_use: QUOTA / 100 * in_use_percent + 100,
            quota: QUOTA,
            no_space,
            corrupt: false,
            revision: 7,
        }
    }

    #[test]
    fn room_is_made_before_and_when_the_quota_is_reached() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let table = [
            (look(10, 5, false), None, Step::Rest),
            (look(74, 74, false), None, Step::Rest),
            (look(75, 5, false), None, Step::MakeRoom),
            // Each defragmentation stops etcd: not again and again.
            (look(80, 80, false), seconds(599), Step::Rest),
            (look(80, 80, false), seconds(600), Step::MakeRoom),
            // The alarm stays although the file is small (F28): at once, also after a restart.
            (look(1, 0, true), None, Step::MakeRoom),
            (look(101, 0, true), None, Step::MakeRoom),
            (look(101, 100, true), seconds(29), Step::Rest),
            (look(101, 100, true), seconds(30), Step::MakeRoom),
            // An alarm that comes back soon after room was made early.
            (look(80, 1, true), seconds(60), Step::MakeRoom),
        ];
        for (look, since, expected) in table {
            let past = Past { since_room: since, ..Past::default() };
            assert_eq!(step(&look, &past), expected, "{look:?} {since:?}");
        }
    }

    #[test]
    fn a_file_that_is_mostly_free_is_made_smaller_while_nothing_goes_on() {
        let of = |size: u64, in_use: u64| Look {
            size: size << 20,
            in_use: in_use << 20,
            quota: QUOTA,
            revision: 1000,
            ..Look::default()
        };
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let quiet = Past { revision: Some(901), ..Past::default() };
        let made_room = |ago| Past { since_room: seconds(ago), ..quiet };
        let shrunk = |ago| Past { since_shrink: seconds(ago), ..quiet };
        let table = [
            (of(90, 30), quiet, Step::Shrink),
            (of(90, 30), Past { revision: Some(900), ..quiet }, Step::Rest),
            // Nobody knows yet whether it is quiet.
            (of(90, 30), Past::default(), Step::Rest),
            (of(90, 30), made_room(599), Step::Rest),
            (of(90, 30), made_room(600), Step::Shrink),
            (of(90, 30), shrunk(599), Step::Rest),
            (of(90, 30), shrunk(600), Step::Shrink),
            // Half of it, and 32 MiB.
            (of(64, 32), quiet, Step::Shrink),
            (of(64, 33), quiet, Step::Rest),
            (of(40, 9), quiet, Step::Rest),
            // What presses comes first, however short ago the file was made smaller.
            (of(800, 100), quiet, Step::MakeRoom),
            (of(800, 100), shrunk(1), Step::MakeRoom),
            (Look { no_space: true, ..of(90, 30) }, quiet, Step::MakeRoom),
            (Look { no_space: true, ..of(90, 30) }, shrunk(1), Step::MakeRoom),
            (Look { no_space: true, ..of(90, 30) }, made_room(1), Step::Rest),
            (Look { corrupt: true, ..of(90, 30) }, quiet, Step::LeaveDamage),
        ];
        for (look, past, expected) in table {
            assert_eq!(step(&look, &past), expected, "{look:?} {past:?}");
        }
    }

    #[test]
    fn the_reserve_is_for_content_that_reaches_the_quota_and_until_half_is_free() {
        let table = [
            (look(100, 100, true), false, true),
            (look(99, 99, true), false, false),
            (look(100, 100, false), false, false),
            (look(100, 100, false), true, true),
            (look(50, 50, false), true, true),
            (look(49, 49, false), true, false),
        ];
        for (look, has, expected) in table {
            assert_eq!(needs_reserve(&look, has, QUOTA), expected, "{look:?} {has}");
        }
        let damaged = Look { corrupt: true, ..look(100, 100, true) };
        assert!(!needs_reserve(&damaged, false, QUOTA));
    }

    #[test]
    fn damage_is_left_alone() {
        let damaged = Look { corrupt: true, ..look(101, 1, true) };
        assert_eq!(step(&damaged, &Past::default()), Step::LeaveDamage);
    }

    #[test]
    fn an_unknown_quota_is_never_reached() {
        let unknown = Look { quota: 0, ..look(100, 100, false) };
        assert_eq!(step(&unknown, &Past::default()), Step::Rest);
        assert!(!unknown.is_full());
        assert!(look(100, 90, false).is_full());
        assert!(!look(100, 89, false).is_full());
    }
}
