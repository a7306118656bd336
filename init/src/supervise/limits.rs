//! What one service may use: open files, memory, and its turn when the machine has no memory left.
//!
//! Numbers only; `cgroup.rs` and the child's own limits enforce them. A limit must never be so low that a plane of
//! 5,000 machines on an appliance of 1 GiB meets it (DESIGN.md §8).

/// One MiB, in octets.
const MIB: u64 = 1 << 20;
/// Descriptors: more than the boot services' 4,096 connections, each with a file or a socket of its own beside it.
const OPEN_FILES: u64 = 65_536;
/// Above `memory.max` less this part the kernel reclaims and slows the service down before it kills it.
const HIGH_MARGIN: u64 = 10;
/// `RLIMIT_DATA` counts what is mapped, not what is used: runtimes reserve about twice what they touch.
const RESERVED_FACTOR: u64 = 2;

/// The limits of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `RLIMIT_NOFILE`, soft and hard.
    pub open_files: u64,
    /// Its memory, with everything it has started.
    pub memory: MemoryLimit,
    /// `oom_score_adj`, −1000 to 1000: the service with the highest is killed first.
    pub oom_score_adj: i16,
}

impl Limits {
    /// The usual number of descriptors with these.
    pub const fn new(memory: MemoryLimit, oom_score_adj: i16) -> Self {
        Self { open_files: OPEN_FILES, memory, oom_score_adj }
    }
}

/// A part of the machine's memory, with a floor that fits the smallest appliance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimit {
    /// Percent of the machine's memory.
    pub percent: u8,
    /// MiB that it may use on any machine.
    pub floor_mib: u32,
}

impl MemoryLimit {
    /// Octets beyond which the kernel ends the service, on a machine with so much memory.
    pub fn max(self, total: u64) -> u64 {
        let share = u128::from(total) * u128::from(self.percent) / 100;
        u64::try_from(share).unwrap_or(u64::MAX).max(u64::from(self.floor_mib) * MIB)
    }

    /// Octets beyond which the kernel slows the service down.
    pub fn high(self, total: u64) -> u64 {
        let max = self.max(total);
        max - max / HIGH_MARGIN
    }

    /// Octets of `RLIMIT_DATA`, where the kernel cannot count the memory of a group.
    pub fn data_segment(self, total: u64) -> u64 {
        self.max(total).saturating_mul(RESERVED_FACTOR)
    }
}

/// The machine's memory, in octets.
pub fn total_memory() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(u64::from(info.mem_unit.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_holds_on_small_machines_and_the_share_on_large_ones() {
        let limit = MemoryLimit { percent: 25, floor_mib: 224 };
        for (total_mib, max_mib) in [(0, 224), (512, 224), (896, 224), (1024, 256), (4096, 1024)] {
            assert_eq!(limit.max(total_mib * MIB), max_mib * MIB, "{total_mib}");
        }
        assert_eq!(limit.max(u64::MAX), u64::MAX / 4);
    }

    #[test]
    fn the_kernel_slows_down_before_it_kills() {
        let limit = MemoryLimit { percent: 0, floor_mib: 100 };
        assert_eq!(limit.high(0), 90 * MIB);
        assert_eq!(limit.data_segment(0), 200 * MIB);
    }

    #[test]
    fn the_machine_has_memory() {
        assert!(total_memory() > 64 * MIB, "{}", total_memory());
    }
}
