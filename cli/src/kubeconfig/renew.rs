//! `bloomery kubeconfig --renew`: a certificate that holds anew, in the place of the former one.
//!
//! The key stays, so the kubeconfig needs no plug-in, and copies of it go on until their certificate expires.

use data_encoding::BASE64;

use super::KubeconfigError;
use super::file;
use super::merge;
use crate::connection::{ConnectionArgs, ConnectionError};
use crate::progress;

pub(super) async fn run(args: ConnectionArgs) -> Result<(), KubeconfigError> {
    let failed = |source: ConnectionError| KubeconfigError::Connection { source };
    let connection = args.resolve().map_err(failed)?;
    let (Some(path), Some(user)) = (connection.file(), connection.user_entry()) else {
        return Err(KubeconfigError::SeveralFiles);
    };
    let client = connection.appliance().map_err(failed)?;
    let doing = format!("renewing the certificate with {}", connection.endpoint());
    let renewed = progress::during(&doing, client.renew())
        .await
        .map_err(|source| KubeconfigError::Renew { source: Box::new(source) })?;
    let certificate = BASE64.encode(renewed.client_certificate.as_bytes());
    file::change(path, |existing| merge::replace_certificate(existing, user, &certificate))
        .map_err(|source| KubeconfigError::File { source })?;
    let (context, path) = (connection.context(), path.display());
    eprintln!("renewed context {context:?} in {path}; the certificate expires on {}", renewed.expires);
    Ok(())
}
