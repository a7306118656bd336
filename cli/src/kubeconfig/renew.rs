//! `bloomery kubeconfig --renew`: a certificate that holds anew, in the place of the former one.
//!
//! The key stays, so the kubeconfig needs no plug-in, and copies of it go on until their certificate expires.

use anyhow::{Context as _, bail};
use data_encoding::BASE64;

use super::file;
use super::merge;
use crate::connection::ConnectionArgs;
use crate::progress;

pub(super) async fn run(args: ConnectionArgs) -> anyhow::Result<()> {
    let missing = "failed to find what to renew";
    let connection = args.resolve().context(missing)?;
    let (Some(path), Some(user)) = (connection.file(), connection.user_entry()) else {
        bail!("failed to tell which file to renew: $KUBECONFIG names several; name one with --kubeconfig");
    };
    let client = connection.appliance().context(missing)?;
    let doing = format!("renewing the certificate with {}", connection.endpoint());
    let renewed =
        progress::during(&doing, client.renew()).await.context("failed to renew the certificate")?;
    let certificate = BASE64.encode(renewed.client_certificate.as_bytes());
    file::change(path, |existing| merge::replace_certificate(existing, user, &certificate))
        .context("failed to save the kubeconfig")?;
    let (context, path) = (connection.context(), path.display());
    eprintln!("renewed context {context:?} in {path}; the certificate expires on {}", renewed.expires);
    Ok(())
}
