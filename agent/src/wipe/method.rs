//! In which ways a disk can be erased as a whole, the best first.
//!
//! It must never put a way first that may leave data readable where another one would not.

use bloomery_sys::nvme::{Controller, SanitizeAction, SecureErase};

/// A way to erase a whole disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `NVMe` Format NVM.
    Format(SecureErase),
    /// `NVMe` Sanitize.
    Sanitize(SanitizeAction),
    /// `BLKSECDISCARD`.
    SecureDiscard,
    /// `BLKDISCARD`, where it is known to zero.
    Discard,
    /// `BLKZEROOUT`.
    ZeroOut,
    /// Plain writes.
    Write,
}

impl Method {
    /// For people and the plane.
    pub fn name(self) -> &'static str {
        match self {
            Self::Format(SecureErase::UserData) => "nvme format",
            Self::Format(SecureErase::Cryptographic) => "nvme format (crypto)",
            Self::Sanitize(SanitizeAction::CryptoErase) => "nvme sanitize (crypto)",
            Self::Sanitize(SanitizeAction::BlockErase | SanitizeAction::ExitFailure) => "nvme sanitize",
            Self::SecureDiscard => "secure discard",
            Self::Discard => "discard",
            Self::ZeroOut => "zero out",
            Self::Write => "zeroes",
        }
    }
}

/// What a disk has, besides taking writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Abilities {
    /// The controller, if it is an `NVMe` one.
    pub nvme: Option<Controller>,
    /// The controller has no other namespace.
    pub alone: bool,
    /// Discards are known to zero.
    pub discard_zeroes: bool,
}

/// All ways to try, in order. Whatever is said to have worked is checked, and the next way tried if it did not.
pub fn methods(abilities: &Abilities) -> Vec<Method> {
    let Abilities { nvme, alone, discard_zeroes } = *abilities;
    let mut methods = Vec::new();
    if let Some(controller) = nvme {
        let Controller { format, format_is_of_all, format_crypto, sanitize_block, sanitize_crypto } =
            controller;
        // The namespaces are erased in parallel: what reaches into another one would break that one's wipe.
        let format = format && (alone || !format_is_of_all);
        methods.extend(format.then_some(Method::Format(SecureErase::UserData)));
        methods.extend((sanitize_block && alone).then_some(Method::Sanitize(SanitizeAction::BlockErase)));
        methods.extend((format && format_crypto).then_some(Method::Format(SecureErase::Cryptographic)));
        methods.extend((sanitize_crypto && alone).then_some(Method::Sanitize(SanitizeAction::CryptoErase)));
    }
    methods.push(Method::SecureDiscard);
    methods.extend(discard_zeroes.then_some(Method::Discard));
    methods.extend([Method::ZeroOut, Method::Write]);
    methods
}

#[cfg(test)]
mod tests {
    use super::*;

    const NVME: Controller = Controller {
        format: true,
        format_is_of_all: true,
        format_crypto: true,
        sanitize_block: true,
        sanitize_crypto: true,
    };

    #[test]
    fn a_plain_disk_is_zeroed_and_one_that_zeroes_on_discard_is_discarded() {
        let plain = [Method::SecureDiscard, Method::ZeroOut, Method::Write];
        assert_eq!(methods(&Abilities::default()), plain);
        let discards = Abilities { discard_zeroes: true, ..Abilities::default() };
        assert_eq!(methods(&discards)[1], Method::Discard);
    }

    #[test]
    fn an_nvme_disk_erases_itself_and_can_still_be_zeroed() {
        let all = methods(&Abilities { nvme: Some(NVME), alone: true, discard_zeroes: false });
        let names: Vec<&str> = all.into_iter().map(Method::name).collect();
        assert_eq!(
            names,
            [
                "nvme format",
                "nvme sanitize",
                "nvme format (crypto)",
                "nvme sanitize (crypto)",
                "secure discard",
                "zero out",
                "zeroes"
            ]
        );
    }

    #[test]
    fn nothing_that_reaches_into_other_namespaces_is_used_where_there_are_some() {
        let plain = [Method::SecureDiscard, Method::ZeroOut, Method::Write];
        assert_eq!(methods(&Abilities { nvme: Some(NVME), ..Abilities::default() }), plain);
        let own = Controller { format_is_of_all: false, ..NVME };
        let first = methods(&Abilities { nvme: Some(own), ..Abilities::default() })[0];
        assert_eq!(first, Method::Format(SecureErase::UserData));
    }
}
