//! A simulation as a program of its own, for tests; `bloomery lab simulate` starts itself instead.

use bloomery_lab::simulate::{config::Config, fleet, inside};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (config, parent) = inside::order::<Config>().await?;
    let summary = Box::pin(fleet::run(config, |_| {}, parent.gone())).await?;
    println!("{}", serde_json::to_string(&summary)?);
    Ok(())
}
