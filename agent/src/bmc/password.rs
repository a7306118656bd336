//! A password for the BMC's user. It must never be shown, and never be guessable: it comes from the kernel's randomness.

use super::message::FIELD;

const CHARACTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// 16 characters of a-z, A-Z, 0-9: what every BMC takes.
pub struct Password(String);

impl std::fmt::Debug for Password {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Password(not shown)")
    }
}

impl Password {
    /// A new one.
    pub fn new() -> std::io::Result<Self> {
        let mut text = String::with_capacity(FIELD);
        while text.len() < FIELD {
            let mut bytes = [0; 4 * FIELD];
            bloomery_sys::random::fill(&mut bytes)?;
            // Only values below the largest multiple of 62, so that all characters are equally likely.
            let fair =
                bytes.iter().filter(|byte| usize::from(**byte) < 256 / CHARACTERS.len() * CHARACTERS.len());
            let characters = fair.filter_map(|byte| CHARACTERS.get(usize::from(*byte) % CHARACTERS.len()));
            text.extend(characters.map(|character| char::from(*character)).take(FIELD - text.len()));
        }
        Ok(Self(text))
    }

    /// The password itself.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_sixteen_letters_and_digits_and_never_the_same() {
        let passwords: Vec<Password> = (0..200).map(|_| Password::new().unwrap()).collect();
        let mut seen = std::collections::HashSet::new();
        for password in &passwords {
            assert!(password.secret().len() == 16, "{}", password.secret());
            assert!(password.secret().bytes().all(|byte| byte.is_ascii_alphanumeric()));
            assert!(seen.insert(password.secret()));
        }
        // 3200 draws leave none of the 62 out, but for a chance of about 1e-21.
        let used: std::collections::HashSet<u8> = seen.iter().flat_map(|password| password.bytes()).collect();
        assert_eq!(used.len(), 62);
        assert_eq!(format!("{:?}", passwords[0]), "Password(not shown)");
    }
}
