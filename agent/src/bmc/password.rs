//! A password for the BMC's user. It must never be shown, and never be guessable: it comes from the kernel's randomness.

use super::message::FIELD;

/// Small letters, capital letters, digits, and signs that no BMC's shell, URL or form is known to mangle.
const CLASSES: [&[u8]; 4] =
    [b"abcdefghijklmnopqrstuvwxyz", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"0123456789", b"-_.@#+"];

/// Of which classes a password is made; each of them occurs in it, since BMCs' policies ask for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alphabet {
    /// Letters and digits: what every BMC takes.
    Plain,
    /// With signs: what some ask for, and others refuse.
    Signs,
}

impl Alphabet {
    fn classes(self) -> &'static [&'static [u8]] {
        match self {
            Self::Plain => CLASSES.split_at(3).0,
            Self::Signs => &CLASSES,
        }
    }
}

/// 16 characters. No character follows itself, which some policies refuse.
pub struct Password(String);

impl std::fmt::Debug for Password {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Password(not shown)")
    }
}

impl Password {
    pub fn new(alphabet: Alphabet) -> std::io::Result<Self> {
        let classes = alphabet.classes();
        let characters = classes.concat();
        // Drawn anew until it is as policies want it: every such password is equally likely. About two draws.
        loop {
            let text = draw(&characters)?;
            let has_all = classes.iter().all(|class| text.bytes().any(|byte| class.contains(&byte)));
            let repeats = text.as_bytes().windows(2).any(|pair| pair.first() == pair.last());
            if has_all && !repeats {
                return Ok(Self(text));
            }
        }
    }

    pub fn secret(&self) -> &str {
        &self.0
    }
}

/// 16 of these characters, each equally likely at each place.
fn draw(characters: &[u8]) -> std::io::Result<String> {
    let mut text = String::with_capacity(FIELD);
    while text.len() < FIELD {
        let mut bytes = [0; 4 * FIELD];
        bloomery_sys::random::fill(&mut bytes)?;
        // Only values below the largest multiple, so that all characters are equally likely.
        let fair =
            bytes.iter().filter(|byte| usize::from(**byte) < 256 / characters.len() * characters.len());
        let drawn = fair.filter_map(|byte| characters.get(usize::from(*byte) % characters.len()));
        text.extend(drawn.map(|character| char::from(*character)).take(FIELD - text.len()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_have_sixteen_characters_one_of_each_class_at_least_and_are_never_the_same() {
        for alphabet in [Alphabet::Plain, Alphabet::Signs] {
            let passwords: Vec<Password> = (0..1000).map(|_| Password::new(alphabet).unwrap()).collect();
            let mut seen = std::collections::HashSet::new();
            for password in &passwords {
                let secret = password.secret();
                assert_eq!(secret.len(), 16);
                for class in alphabet.classes() {
                    assert!(secret.bytes().any(|byte| class.contains(&byte)), "{secret}");
                }
                assert!(secret.as_bytes().windows(2).all(|pair| pair[0] != pair[1]), "{secret}");
                assert!(seen.insert(secret));
            }
            // 16,000 draws leave no character out, but for a chance beyond counting.
            let used: std::collections::HashSet<u8> =
                seen.iter().flat_map(|password| password.bytes()).collect();
            assert_eq!(used.len(), alphabet.classes().concat().len());
            assert_eq!(format!("{:?}", passwords[0]), "Password(not shown)");
        }
    }
}
