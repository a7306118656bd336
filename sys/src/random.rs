//! Randomness from the kernel. No byte is given out before the kernel's generator is ready.
#![allow(unsafe_code, reason = "system calls are made in this crate alone")]

use std::io;

/// Fills the buffer; blocks until the kernel has gathered enough randomness after boot.
pub fn fill(buffer: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        // SAFETY: the kernel writes at most `rest.len()` bytes into memory that is ours for the call.
        let count = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(count) {
            Ok(count) => filled += count,
            Err(_negative) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_all_of_the_buffer_with_something_else_each_time() {
        let (mut one, mut other) = ([0; 600], [0; 600]);
        fill(&mut one).unwrap();
        fill(&mut other).unwrap();
        assert_ne!(one, other);
        assert!(one[500..].iter().any(|byte| *byte != 0));
        fill(&mut []).unwrap();
    }
}
