//! Random lives of a few machines, as in the tests of the API crate: whatever happens in whatever order, no disks are
//! written whose last owner did not let go.
#[path = "../../controllers/api/tests/life/world.rs"]
mod world;

/// One input.
pub fn run(data: &[u8]) {
    if let Err(why) = world::live(data) {
        panic!("{why}");
    }
}
