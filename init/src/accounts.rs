//! The accounts of DESIGN.md §1, one for each service; the image's /etc/passwd has the same.

use std::fs;

/// An account of the image's /etc/passwd; the group has the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// For messages.
    pub name: &'static str,
    pub uid: u32,
}

pub const ETCD: User = User { name: "etcd", uid: 101 };
pub const APISERVER: User = User { name: "apiserver", uid: 102 };
pub const KCM: User = User { name: "kcm", uid: 103 };
pub const CAPI: User = User { name: "capi", uid: 104 };
pub const CONTROLLERS: User = User { name: "controllers", uid: 105 };
pub const BOOTSVC: User = User { name: "bootsvc", uid: 106 };
pub const APPLY: User = User { name: "apply", uid: 107 };
pub const APPLIANCE: User = User { name: "appliance", uid: 108 };
pub const SIDEROLINK: User = User { name: "siderolink", uid: 109 };

/// The lowest and the highest of them.
const RANGE: (u32, u32) = (ETCD.uid, SIDEROLINK.uid);

/// Whether services can run as users of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accounts {
    /// Each as its own user.
    Separate,
    /// All as the user of PID 1: in a user namespace that knows only one.
    Single,
}

impl Accounts {
    /// What this process's user namespace allows.
    pub fn detect() -> Self {
        // A map that cannot be read is no reason to give all services root's rights.
        let maps_all = fs::read_to_string("/proc/self/uid_map").map_or(true, |map| maps_all(&map));
        if rustix::process::geteuid().is_root() && maps_all { Self::Separate } else { Self::Single }
    }

    /// The owner of the user's files, if they are to be given away.
    pub fn owner(self, user: User) -> Option<u32> {
        (self == Self::Separate).then_some(user.uid)
    }

    /// Who a service runs as.
    pub fn user(self, user: User) -> Option<User> {
        (self == Self::Separate).then_some(user)
    }
}

/// Whether a `uid_map` (`user_namespaces(7)`: first id inside, first outside, count) has all our users.
fn maps_all(map: &str) -> bool {
    let holds = |uid: u32| {
        map.lines().any(|line| {
            let mut numbers = line.split_ascii_whitespace().map(str::parse::<u64>);
            match (numbers.next(), numbers.nth(1)) {
                (Some(Ok(first)), Some(Ok(count))) => {
                    (first..first.saturating_add(count)).contains(&u64::from(uid))
                }
                _ => false,
            }
        })
    };
    (RANGE.0..=RANGE.1).all(holds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_whether_a_namespace_has_the_users() {
        assert!(maps_all("         0          0 4294967295\n"));
        assert!(maps_all("0 1000 1\n1 100000 65536\n"));
        assert!(!maps_all("0 1000 1\n"));
        assert!(!maps_all("0 0 105\n"));
        assert!(!maps_all("rubbish\n"));
    }
}
