//! Random lives of a few machines, as in the tests of the API crate: whatever happens in whatever order, no disks are
//! written whose last owner did not let go.
#![no_main]

#[path = "../../controllers/api/tests/life/world.rs"]
mod world;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Err(why) = world::live(data) {
        panic!("{why}");
    }
});
