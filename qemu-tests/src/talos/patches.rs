//! What the lab wants of every configuration, as strategic patches: for its `ServerClass`, or for talosctl.
//!
//! The launcher changes no configuration: nodes run what the plane, or talosctl, made.

use super::host::Host;
use std::net::SocketAddr;

/// Registries that nodes ask for; all of them are the lab's own.
const REGISTRIES: [&str; 4] = ["registry.k8s.io", "ghcr.io", "docker.io", super::images::LAB];

/// For every node.
pub fn all(host: &Host, registry: SocketAddr) -> String {
    let mirrors: Vec<String> = REGISTRIES
        .iter()
        .map(|name| format!("      {name}: {{endpoints: [\"http://{registry}\"], skipFallback: true}}\n"))
        .collect();
    format!(
        "machine:\n  \
           # The lab forwards a port of this computer.\n  \
           certSANs: [127.0.0.1]\n  \
           # Never touched: container mode installs nothing, and a plane powers no machine without one.\n  \
           install: {{disk: /dev/sda}}\n  \
           kubelet:\n{v1_mounts}    \
             extraConfig:\n{v1_config}      \
               failSwapOn: false\n      \
               # Static pods come by URL, asked for every 20 s otherwise; the first start of a controller manager fails.\n      \
               httpCheckFrequency: 1s\n      \
               crashLoopBackOff: {{maxContainerRestartPeriod: 2s}}\n      \
               nodeStatusUpdateFrequency: 2s\n      \
               # The disk is a folder of the host, however full that is.\n      \
               localStorageCapacityIsolation: false\n      \
               evictionHard: {{memory.available: 10Mi, nodefs.available: 1%, imagefs.available: 1%}}\n      \
               imageGCHighThresholdPercent: 100\n  \
           registries:\n    \
             mirrors:\n{mirrors}\
         cluster:\n  \
           discovery: {{enabled: false}}\n  \
           network:\n    \
             cni: {{name: none}}\n",
        mirrors = mirrors.concat(),
        v1_mounts = if host.is_v1() { V1_MOUNTS } else { "" },
        v1_config = if host.is_v1() { "      failCgroupV1: false\n" } else { "" },
    )
}

/// The mounts of version 1 lie below the one that Talos binds.
const V1_MOUNTS: &str = "    extraMounts:\n      \
    - {destination: /sys/fs/cgroup, source: /sys/fs/cgroup, type: bind, options: [rbind, rw]}\n";

/// What the lab has no image for is left out.
pub fn without_add_ons() -> String {
    "cluster:\n  \
       coreDNS: {disabled: true}\n  \
       proxy: {disabled: true}\n"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::talos::host::Hierarchy;

    #[test]
    fn work_arounds_are_for_hosts_that_need_them() {
        let v2 = Hierarchy { options: String::new(), name: "unified".to_owned(), own: "/".into() };
        let v1 = Hierarchy { options: "cpu".to_owned(), ..v2.clone() };
        let registry = ([10, 77, 0, 1], 5000).into();
        let hybrid = all(&Host { v1: vec![v1], v2: v2.clone(), may_raise: true }, registry);
        let modern = all(&Host { v1: Vec::new(), v2, may_raise: true }, registry);
        for text in ["failCgroupV1: false", "options: [rbind, rw]"] {
            assert!(hybrid.contains(text) && !modern.contains(text), "{text}");
        }
        for text in [&hybrid, &modern] {
            assert!(text.contains("registry.k8s.io: {endpoints: [\"http://10.77.0.1:5000\"]"), "{text}");
        }
    }
}
