//! The supervisor as a program of its own, for tests; `bloomery lab` starts itself instead.

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    bloomery_lab::supervise::run().await
}
