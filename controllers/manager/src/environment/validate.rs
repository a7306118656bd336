//! Turns what was read into what can be worked with.
//!
//! Never lets a checksum pass that no file could ever have.

use bloomery_api::Environment;
use kube::ResourceExt;
use kube::core::DeserializeGuard;

use crate::reconcile::Error;

/// Hexadecimal digits of a SHA-512.
const SHA512_DIGITS: usize = 128;

/// Fails on an object that is not what its kind should be.
pub(super) fn validate(guarded: DeserializeGuard<Environment>) -> Result<Environment, Error> {
    let object = format!("Environment {}", guarded.name_any());
    let environment = match guarded.0 {
        Ok(environment) => environment,
        Err(invalid) => return Err(Error::Invalid { object, problem: invalid.error }),
    };
    for (field, sha512) in
        [("kernel", &environment.spec.kernel.sha512), ("initrd", &environment.spec.initrd.sha512)]
    {
        let plausible = sha512.len() == SHA512_DIGITS && sha512.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !sha512.is_empty() && !plausible {
            let problem = format!("spec.{field}.sha512 is not {SHA512_DIGITS} hexadecimal digits");
            return Err(Error::Invalid { object, problem });
        }
    }
    Ok(environment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bloomery_api::EnvironmentSpec;

    fn with_sha512(sha512: &str) -> DeserializeGuard<Environment> {
        let mut environment = Environment::new("e", EnvironmentSpec::default());
        sha512.clone_into(&mut environment.spec.initrd.sha512);
        DeserializeGuard(Ok(environment))
    }

    #[test]
    fn checksums_are_empty_or_whole() {
        let whole = "aF".repeat(SHA512_DIGITS / 2);
        assert!(validate(with_sha512("")).is_ok());
        assert!(validate(with_sha512(&whole)).is_ok());
        for bad in ["a", &whole[1..], &whole.replace('a', "g")] {
            let error = validate(with_sha512(bad)).unwrap_err();
            assert!(error.to_string().contains("spec.initrd.sha512"), "{error}");
        }
    }
}
