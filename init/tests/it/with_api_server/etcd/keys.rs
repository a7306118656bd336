//! Keys of etcd, which PID 1 itself never touches.

use tonic::Request;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;

/// `RangeRequest`, `DeleteRangeRequest`: one key.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct OneKey {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
struct Nothing {}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct KeyValue {
    #[prost(bytes = "vec", tag = "5")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

async fn call<Q, A>(channel: Channel, path: &'static str, message: Q) -> Result<A, String>
where
    Q: prost::Message + 'static,
    A: prost::Message + Default + 'static,
{
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| error.to_string())?;
    let codec = ProstCodec::<Q, A>::default();
    let answer = grpc.unary(Request::new(message), PathAndQuery::from_static(path), codec).await;
    answer.map(tonic::Response::into_inner).map_err(|status| status.message().to_owned())
}

pub(crate) async fn put(channel: Channel, key: &str, value: Vec<u8>) -> Result<(), String> {
    let request = PutRequest { key: key.into(), value };
    call::<_, Nothing>(channel, "/etcdserverpb.KV/Put", request).await.map(drop)
}

pub(crate) async fn delete(channel: Channel, key: &str) -> Result<(), String> {
    let request = OneKey { key: key.into() };
    call::<_, Nothing>(channel, "/etcdserverpb.KV/DeleteRange", request).await.map(drop)
}

pub(crate) async fn get(channel: Channel, key: &str) -> Option<Vec<u8>> {
    let request = OneKey { key: key.into() };
    let answer: RangeResponse = call(channel, "/etcdserverpb.KV/Range", request).await.unwrap();
    answer.kvs.into_iter().next().map(|found| found.value)
}
