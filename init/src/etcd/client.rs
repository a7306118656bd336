//! Calls to etcd on loopback: gRPC over mutual TLS.
//!
//! It must never hand its key to anybody: the certificate is made for each connection and lives in memory.

use super::decide::Look;
use super::wire::{
    AlarmAction, AlarmMember, AlarmRequest, AlarmResponse, AlarmType, CompactionRequest, Empty,
    StatusResponse,
};
use crate::pki::Pki;
use crate::pki::identities::LIFETIME;
use crate::pki::leaf::Leaf;
use bloomery_pairing::http;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

/// Connection and small calls.
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// A gigabyte on a slow stick is read and written once.
const DEFRAGMENT_LIMIT: Duration = Duration::from_mins(10);
/// PID 1's name in etcd's log.
const NAME: &str = "bloomery-init";
/// gRPC over HTTP/2 (RFC 7301's protocol name).
const ALPN: &[u8] = b"h2";

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to make a client certificate for etcd")]
    Certificate(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("failed to connect to etcd")]
    Connect(#[source] tonic::transport::Error),
    #[error("failed to {what}")]
    Call { what: &'static str, source: Box<Status> },
}

/// A connection to the one member.
#[derive(Debug, Clone)]
pub struct Client {
    channel: Channel,
}

impl Client {
    pub async fn connect(pki: &Pki, port: u16) -> Result<Self, Error> {
        let tls = TlsConnector::from(Arc::new(client_config(pki)?));
        let connect = move |_| {
            let tls = tls.clone();
            async move {
                let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
                let name = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST).into());
                Ok::<_, std::io::Error>(TokioIo::new(tls.connect(name, stream).await?))
            }
        };
        // The scheme is that of the messages inside of TLS.
        let channel = Endpoint::from_static("http://127.0.0.1")
            .connect_timeout(CALL_LIMIT)
            .connect_with_connector(tower::service_fn(connect))
            .await
            .map_err(Error::Connect)?;
        Ok(Self { channel })
    }

    /// The connection itself, for calls that PID 1 never makes.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Sizes, alarms and the newest revision.
    pub async fn look(&self) -> Result<Look, Error> {
        let status: StatusResponse = self
            .call("ask etcd for its sizes", "/etcdserverpb.Maintenance/Status", Empty {}, CALL_LIMIT)
            .await?;
        let alarms = self.alarms().await?;
        let stands = |alarm: AlarmType| alarms.iter().any(|member| member.alarm == i32::from(alarm));
        let octets = |number: i64| u64::try_from(number).unwrap_or(0);
        Ok(Look {
            size: octets(status.db_size),
            in_use: octets(status.db_size_in_use),
            quota: octets(status.db_size_quota),
            no_space: stands(AlarmType::NoSpace),
            corrupt: stands(AlarmType::Corrupt),
            revision: status.header.map_or(0, |header| header.revision),
        })
    }

    async fn alarms(&self) -> Result<Vec<AlarmMember>, Error> {
        let all =
            AlarmRequest { action: AlarmAction::Get.into(), member_id: 0, alarm: AlarmType::None.into() };
        let answer: AlarmResponse =
            self.call("ask etcd for its alarms", "/etcdserverpb.Maintenance/Alarm", all, CALL_LIMIT).await?;
        Ok(answer.alarms)
    }

    /// Drops the history before `revision`, and waits until its pages are free.
    ///
    /// # Errors
    /// The failed call; a history that is gone already is none.
    pub async fn compact(&self, revision: i64) -> Result<(), Error> {
        let request = CompactionRequest { revision, physical: true };
        let answer: Result<Empty, Error> =
            self.call("compact etcd's history", "/etcdserverpb.KV/Compact", request, DEFRAGMENT_LIMIT).await;
        match answer {
            Err(Error::Call { source, .. }) if source.code() == Code::OutOfRange => Ok(()),
            other => other.map(drop),
        }
    }

    /// Writes the database anew without its free pages. etcd serves nobody meanwhile.
    pub async fn defragment(&self) -> Result<(), Error> {
        let what = "defragment etcd's database";
        let _: Empty =
            self.call(what, "/etcdserverpb.Maintenance/Defragment", Empty {}, DEFRAGMENT_LIMIT).await?;
        Ok(())
    }

    /// Takes the alarm "no space" back, and no other.
    pub async fn disarm_no_space(&self) -> Result<(), Error> {
        for member in self.alarms().await?.iter().filter(|one| one.alarm == i32::from(AlarmType::NoSpace)) {
            let request = AlarmRequest {
                action: AlarmAction::Deactivate.into(),
                member_id: member.member_id,
                alarm: AlarmType::NoSpace.into(),
            };
            let what = "take back etcd's alarm";
            let _: AlarmResponse =
                self.call(what, "/etcdserverpb.Maintenance/Alarm", request, CALL_LIMIT).await?;
        }
        Ok(())
    }

    async fn call<Q, A>(
        &self,
        what: &'static str,
        path: &'static str,
        message: Q,
        limit: Duration,
    ) -> Result<A, Error>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let refused = |source: Status| Error::Call { what, source: Box::new(source) };
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        let exchange = async {
            grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            let codec = ProstCodec::<Q, A>::default();
            grpc.unary(Request::new(message), PathAndQuery::from_static(path), codec).await
        };
        match tokio::time::timeout(limit, exchange).await {
            Ok(answer) => answer.map(tonic::Response::into_inner).map_err(refused),
            Err(_) => Err(refused(Status::deadline_exceeded("no answer in time"))),
        }
    }
}

/// Trusts etcd's authority, and shows a certificate that it has just signed.
fn client_config(pki: &Pki) -> Result<rustls::ClientConfig, Error> {
    let leaf = Leaf {
        common_name: NAME,
        organizations: &[],
        names: Vec::new(),
        server: false,
        client: true,
        now: OffsetDateTime::now_utc(),
        lifetime: LIFETIME,
    };
    let issued = leaf.issue(&pki.etcd_ca).map_err(|error| Error::Certificate(error.into()))?;
    let mut config = http::client_config(pki.etcd_ca.certificate(), Some((&issued.certificate, &issued.key)))
        .map_err(Error::Certificate)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}
