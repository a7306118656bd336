//! The kernel's WireGuard, over generic netlink.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use bloomery_api::siderolink::peers::{Changes, Key};
use futures::StreamExt as _;
use genetlink::GenetlinkHandle;
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_generic::GenlMessage;
use netlink_packet_wireguard::{
    WireguardAddressFamily, WireguardAllowedIp, WireguardAllowedIpAttr, WireguardAttribute, WireguardCmd,
    WireguardMessage, WireguardPeer, WireguardPeerAttribute, WireguardPeerFlags,
};

/// Bits of a whole IPv6 address.
const HOST: u8 = 128;

/// Why the kernel's WireGuard is not configured.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum KernelError {
    #[error("failed to open a generic netlink socket")]
    Open(#[source] std::io::Error),
    #[error("failed to ask for the interface")]
    Request(#[source] Box<genetlink::GenetlinkError>),
    #[error("failed to understand the answer")]
    Decode(#[source] Box<netlink_packet_core::DecodeError>),
    #[error("failed to change the interface")]
    Refused(#[source] std::io::Error),
}

/// One interface.
pub(super) struct Kernel {
    handle: GenetlinkHandle,
    name: String,
}

impl Kernel {
    /// The interface of this name, which exists.
    pub(super) fn connect(name: &str) -> Result<Self, KernelError> {
        let (connection, handle, _) = genetlink::new_connection().map_err(KernelError::Open)?;
        tokio::spawn(connection);
        Ok(Self { handle, name: name.to_owned() })
    }

    /// Sets the plane's key and port.
    pub(super) async fn set_device(&self, private_key: &Key, port: u16) -> Result<(), KernelError> {
        self.set(vec![WireguardAttribute::PrivateKey(*private_key), WireguardAttribute::ListenPort(port)])
            .await
    }

    /// The peers that it has. One that may use anything but one whole address is told without it, so that it is set
    /// anew.
    pub(super) async fn peers(&self) -> Result<BTreeMap<Key, Ipv6Addr>, KernelError> {
        let attributes = vec![WireguardAttribute::IfName(self.name.clone())];
        let message = WireguardMessage { cmd: WireguardCmd::GetDevice, attributes };
        let mut peers = BTreeMap::new();
        for message in self.exchange(message, NLM_F_REQUEST | NLM_F_DUMP).await? {
            for attribute in message.attributes {
                if let WireguardAttribute::Peers(found) = attribute {
                    peers.extend(found.iter().filter_map(read_peer));
                }
            }
        }
        Ok(peers)
    }

    /// Changes peers.
    pub(super) async fn apply(&self, Changes { removed, set }: &Changes) -> Result<(), KernelError> {
        let removed = removed.iter().map(|key| {
            WireguardPeer(vec![
                WireguardPeerAttribute::PublicKey(*key),
                WireguardPeerAttribute::Flags(WireguardPeerFlags::RemoveMe),
            ])
        });
        let set = set.iter().map(|(key, address)| {
            WireguardPeer(vec![
                WireguardPeerAttribute::PublicKey(*key),
                WireguardPeerAttribute::Flags(WireguardPeerFlags::ReplaceAllowedIps),
                WireguardPeerAttribute::AllowedIps(vec![allowed(*address)]),
            ])
        });
        self.set(vec![WireguardAttribute::Peers(removed.chain(set).collect())]).await
    }

    async fn set(&self, attributes: Vec<WireguardAttribute>) -> Result<(), KernelError> {
        let name = [WireguardAttribute::IfName(self.name.clone())];
        let attributes = name.into_iter().chain(attributes).collect();
        let message = WireguardMessage { cmd: WireguardCmd::SetDevice, attributes };
        self.exchange(message, NLM_F_REQUEST | NLM_F_ACK).await.map(drop)
    }

    async fn exchange(
        &self,
        message: WireguardMessage,
        flags: u16,
    ) -> Result<Vec<WireguardMessage>, KernelError> {
        let mut message = NetlinkMessage::from(GenlMessage::from_payload(message));
        message.header.flags = flags;
        let mut handle = self.handle.clone();
        let answers = handle.request(message).await;
        let answers = answers.map_err(|error| KernelError::Request(Box::new(error)))?;
        let mut answers = std::pin::pin!(answers);
        let mut all = Vec::new();
        while let Some(answer) = answers.next().await {
            let answer = answer.map_err(|error| KernelError::Decode(Box::new(error)))?;
            match answer.payload {
                NetlinkPayload::InnerMessage(message) => all.push(message.payload),
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    return Err(KernelError::Refused(error.to_io()));
                }
                _ => {}
            }
        }
        Ok(all)
    }
}

fn allowed(address: Ipv6Addr) -> WireguardAllowedIp {
    WireguardAllowedIp(vec![
        WireguardAllowedIpAttr::Family(WireguardAddressFamily::Ipv6),
        WireguardAllowedIpAttr::IpAddr(IpAddr::V6(address)),
        WireguardAllowedIpAttr::Cidr(HOST),
    ])
}

fn read_peer(peer: &WireguardPeer) -> Option<(Key, Ipv6Addr)> {
    let key = peer.iter().find_map(|attribute| match attribute {
        WireguardPeerAttribute::PublicKey(key) => Some(*key),
        _ => None,
    })?;
    let allowed = peer.iter().find_map(|attribute| match attribute {
        WireguardPeerAttribute::AllowedIps(allowed) => Some(allowed.as_slice()),
        _ => None,
    });
    let address = match allowed {
        Some([only]) => only.iter().find_map(|attribute| match attribute {
            WireguardAllowedIpAttr::IpAddr(IpAddr::V6(address)) => Some(*address),
            _ => None,
        }),
        _ => None,
    };
    Some((key, address.unwrap_or(Ipv6Addr::UNSPECIFIED)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_read_back_as_they_are_set() {
        let address: Ipv6Addr = "fd00::9".parse().unwrap();
        let peer = |allowed| {
            WireguardPeer(vec![
                WireguardPeerAttribute::PublicKey([1; 32]),
                WireguardPeerAttribute::AllowedIps(allowed),
            ])
        };
        assert_eq!(read_peer(&peer(vec![allowed(address)])), Some(([1; 32], address)));
        let two = peer(vec![allowed(address), allowed("fd00::a".parse().unwrap())]);
        assert_eq!(read_peer(&two), Some(([1; 32], Ipv6Addr::UNSPECIFIED)));
        assert_eq!(read_peer(&peer(Vec::new())), Some(([1; 32], Ipv6Addr::UNSPECIFIED)));
        assert_eq!(read_peer(&WireguardPeer(Vec::new())), None);
    }
}
