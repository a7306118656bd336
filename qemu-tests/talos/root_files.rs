// What a node's root holds on both boards, whoever builds it: this file is a module of the lab and of `talos-media`.

/// Talos binds its own files over these.
pub(crate) const EMPTY: [&str; 16] = [
    "usr/share/zoneinfo/Etc/UTC",
    "etc/extensions.yaml",
    "etc/resolv.conf",
    "etc/hosts",
    "etc/hostname",
    "etc/machine-id",
    "etc/nfsmount.conf",
    "etc/cri/conf.d/cri.toml",
    "etc/cri/conf.d/01-registries.part",
    "etc/cri/conf.d/20-customization.part",
    "etc/cri/conf.d/base-spec.json",
    "etc/ssl/certs/ca-certificates.crt",
    "etc/selinux/targeted/contexts/files/file_contexts",
    "etc/iscsi/initiatorname.iscsi",
    "etc/nvme/hostid",
    "etc/nvme/hostnqn",
];
/// The containerd of Talos's own services needs no CRI.
pub(crate) const CONTAINERD: &str = r#"version = 3
disabled_plugins = [
  "io.containerd.cri.v1.images",
  "io.containerd.cri.v1.runtime",
  "io.containerd.grpc.v1.cri",
  "io.containerd.nri.v1.nri",
  "io.containerd.podsandbox.controller.v1.podsandbox",
]
"#;
/// That of pods reads what Talos makes of the parts.
pub(crate) const CRI: &str = "version = 3\nimports = [\"/etc/cri/conf.d/cri.toml\"]\n";
/// The one account.
pub(crate) const PASSWD: &str = "root:x:0:0:root:/root:/sbin/nologin\n";

/// `etc/os-release` of this version.
pub(crate) fn os_release(version: &str) -> String {
    format!("NAME=\"Talos\"\nID=talos\nVERSION_ID={version}\nPRETTY_NAME=\"Talos ({version})\"\n")
}
