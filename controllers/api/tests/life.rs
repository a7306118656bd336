//! Thousands of random lives of a few machines: whatever happens in whatever order, no disks are written whose last
//! owner did not let go. `fuzz/src/life.rs` runs the same code under libFuzzer.

#[path = "life/world.rs"]
mod world;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// Sequences in one run of the tests.
const SEQUENCES: u32 = 2000;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: sequences(),
        rng_seed: seed(),
        max_shrink_iters: 3000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_sequence_writes_to_disks_whose_last_owner_did_not_let_go(
        life in proptest::collection::vec(any::<u8>(), 0..160),
    ) {
        let ended = world::live(&life);
        prop_assert!(ended.is_ok(), "{}", ended.err().unwrap_or_default());
    }
}

/// More by the variable `LIFE_SEQUENCES`, for a long run in a release build.
fn sequences() -> u32 {
    std::env::var("LIFE_SEQUENCES").ok().and_then(|text| text.parse().ok()).unwrap_or(SEQUENCES)
}

/// The same lives each time, so that a change is what a failure comes from; `make fuzz` says `LIFE_SEED=random`.
fn seed() -> RngSeed {
    match std::env::var("LIFE_SEED").as_deref() {
        Ok("random") => RngSeed::Random,
        Ok(text) => {
            let seed = text.parse();
            assert!(seed.is_ok(), "LIFE_SEED is {text:?}; write a number, or random");
            RngSeed::Fixed(seed.unwrap_or_default())
        }
        Err(_) => RngSeed::Fixed(0),
    }
}

/// The model reaches what it is about: machines that are wiped, installed and released, and all that is refused.
#[test]
fn lives_are_long_enough_to_reach_wipes_installations_and_conflicts() {
    let mut reached = std::collections::BTreeMap::new();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..400 {
        let life: Vec<u8> = (0..160)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[3]
            })
            .collect();
        for what in world::live(&life).unwrap() {
            *reached.entry(what).or_insert(0_u32) += 1;
        }
    }
    for what in [
        "agent",
        "disk",
        "environment",
        "registered",
        "accepted by itself",
        "suspect",
        "other",
        "wiped",
        "clean",
        "installed",
        "released",
        "lost",
        "conflicted",
        "unconfirmed",
        "restored",
        "moved",
        "fenced",
        "confirmed",
        "forgotten",
    ] {
        assert!(reached.get(what).is_some_and(|times| *times > 0), "{what} was never reached: {reached:?}");
    }
}
