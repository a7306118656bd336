//! The supervisor and its parts as a program of its own, for tests; `bloomery lab` starts itself instead.

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    bloomery_lab::program::run(&arguments).await
}
