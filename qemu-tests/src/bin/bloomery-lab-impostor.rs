//! The hostile host as a program of its own: `FILE` holds its order, the last line of its output is its report.

use anyhow::Context;
use bloomery_lab::impostor;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let file = std::env::args_os().nth(1).context("failed to start: this is a part of the lab's tests")?;
    let order = std::fs::read(&file).context("failed to read the order")?;
    let order = serde_json::from_slice(&order).context("failed to parse the order")?;
    let report = Box::pin(impostor::run(order)).await?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}
