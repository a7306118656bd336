//! What a request is for, by its path (spec/sidero.md §3.4): a pure function.

use bloomery_api::arch::Arch;

use crate::kernel_args::CONFIG_PATH;
use crate::loaders::Loader;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route<'a> {
    /// `/boot.ipxe`, and the names that iPXE tries by itself beside its loader.
    BootScript,
    /// `/ipxe`: the decision.
    Decision,
    /// `/configdata`: a machine's configuration.
    Configuration,
    /// `/tftp/NAME`: a loader.
    Loader(Loader),
    /// `/tftp/`: the list of loaders.
    LoaderList,
    /// `/env/agent-ARCH/…`: part of the agent, the path after the directory.
    Agent(Arch, &'a str),
    /// `/env/…`: an Environment's file or a directory; the path after `/env`.
    Environment(&'a str),
    /// Nothing of ours.
    NotFound,
}

/// Finds the route of `path`, which is still percent-encoded.
pub fn route(path: &str) -> Route<'_> {
    if let "/boot.ipxe" | "/autoexec.ipxe" | "/tftp/autoexec.ipxe" = path {
        return Route::BootScript;
    }
    if path == "/ipxe" {
        return Route::Decision;
    }
    if path == CONFIG_PATH {
        return Route::Configuration;
    }
    if let Some(name) = path.strip_prefix("/tftp/") {
        return match name {
            "" => Route::LoaderList,
            _ => Loader::from_file_name(name).map_or(Route::NotFound, Route::Loader),
        };
    }
    let Some(rest) = path.strip_prefix("/env").filter(|rest| rest.starts_with('/')) else {
        return Route::NotFound;
    };
    for architecture in [Arch::Amd64, Arch::Arm64] {
        let agent = rest[1..].strip_prefix(architecture.agent_environment());
        if let Some(file) = agent.filter(|file| file.is_empty() || file.starts_with('/')) {
            return Route::Agent(architecture, file);
        }
    }
    Route::Environment(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_has_its_route() {
        let cases = [
            ("/boot.ipxe", Route::BootScript),
            ("/autoexec.ipxe", Route::BootScript),
            ("/tftp/autoexec.ipxe", Route::BootScript),
            ("/ipxe", Route::Decision),
            ("/tftp/snp.efi", Route::Loader(Loader::SnpX86)),
            ("/tftp/undionly.kpxe.0", Route::Loader(Loader::Undionly)),
            ("/tftp/", Route::LoaderList),
            ("/tftp/../ipxe", Route::NotFound),
            ("/tftp/%2e%2e/ipxe", Route::NotFound),
            ("/env/", Route::Environment("/")),
            ("/env/default/vmlinuz", Route::Environment("/default/vmlinuz")),
            ("/env/agent-amd64/vmlinuz", Route::Agent(Arch::Amd64, "/vmlinuz")),
            ("/env/agent-arm64", Route::Agent(Arch::Arm64, "")),
            ("/env/agent-amd64x/vmlinuz", Route::Environment("/agent-amd64x/vmlinuz")),
            ("/env", Route::NotFound),
            ("/environment/x", Route::NotFound),
            ("/", Route::NotFound),
            ("/configdata", Route::Configuration),
            ("/configdata/", Route::NotFound),
            ("/configdata/x", Route::NotFound),
            ("/ipxe/", Route::NotFound),
            ("", Route::NotFound),
        ];
        for (path, expected) in cases {
            assert_eq!(route(path), expected, "{path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(path in "(/(env|tftp|agent-amd64|ipxe|%2e)?){0,4}.{0,12}") {
            let _ = route(&path);
        }
    }
}
