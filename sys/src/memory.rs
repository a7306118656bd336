//! The C library's heap. Giving it back takes milliseconds: the library visits all free memory.
#![allow(unsafe_code, reason = "system calls are made in this crate alone")]

/// Gives the free pages of the heap back to the kernel (`malloc_trim(3)`); true if there were any. By itself glibc
/// keeps what was needed at the busiest moment.
#[cfg(target_env = "gnu")]
pub fn give_back() -> bool {
    // SAFETY: it takes no pointer, and locks each arena while it works on it.
    unsafe { libc::malloc_trim(0) == 1 }
}

/// Other C libraries have no such call.
#[cfg(not(target_env = "gnu"))]
pub fn give_back() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Resident memory, MiB.
    fn resident() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_ascii_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn what_was_freed_leaves_the_process() {
        const PIECES: usize = 64 << 10;
        let mut pieces: Vec<Vec<u8>> = (0..PIECES).map(|_| vec![1; 1 << 10]).collect();
        // One in a thousand stays, so that the heap has no free end.
        let kept: Vec<Vec<u8>> = pieces.iter_mut().step_by(1000).map(std::mem::take).collect();
        drop(pieces);
        let before = resident();
        assert!(give_back());
        let after = resident();
        assert!(after + 32 < before, "{before} MiB before, {after} MiB after");
        assert_eq!(kept.len(), PIECES.div_ceil(1000));
    }
}
