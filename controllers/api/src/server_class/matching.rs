//! Which Servers are members of a class: pure functions on the objects.
//!
//! Never asks whether a member is clean or free: allocation does, at the moment it allocates.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use kube::core::{ParseExpressionError, Selector, SelectorExt};

use super::{Qualifiers, ServerClass, ServerClassSpec, ServerClassStatus};
use crate::hardware::{
    ComputeInformation, DiskContents, HardwareInformation, MemoryInformation, MemoryModule,
    NetworkInformation, NetworkInterface, Processor, StorageDevice, StorageInformation, SystemInformation,
};
use crate::server::Server;

/// Why membership cannot be told.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what the variants and their fields are")]
pub enum Error {
    #[error("failed to read the selector of ServerClass {class}")]
    Selector { class: String, source: ParseExpressionError },
    #[error(
        "failed to read the selector of ServerClass {class}: operator {operator:?} of key {key} is not one of In, NotIn, Exists, DoesNotExist"
    )]
    UnknownOperator { class: String, key: String, operator: String },
    #[error("failed to read the selector of ServerClass {class}: operator {operator} of key {key} {problem}")]
    SelectorValues { class: String, key: String, operator: String, problem: &'static str },
}

/// A class whose selector was read once, to be asked about many Servers.
#[derive(Debug)]
pub struct Membership<'a> {
    selector: Selector,
    qualifiers: &'a Qualifiers,
}

impl<'a> Membership<'a> {
    /// Reads the class's conditions.
    pub fn of(class: &'a ServerClass) -> Result<Self, Error> {
        let ServerClassSpec {
            qualifiers,
            selector,
            environment_ref: _,
            config_patches: _,
            strategic_patches: _,
            boot_from_disk_method: _,
        } = &class.spec;
        Ok(Self { selector: read_selector(&class.name_any(), selector)?, qualifiers })
    }

    /// True for a member: accepted, not cordoned, and all conditions hold.
    pub fn admits(&self, server: &Server) -> bool {
        server.spec.accepted
            && !server.spec.cordoned
            && self.selector.matches(server.labels())
            && qualifies(self.qualifiers, server)
    }

    /// The class's status for these Servers: members by name, bound ones apart.
    pub fn status<'s>(&self, servers: impl IntoIterator<Item = &'s Server>) -> ServerClassStatus {
        let mut status = ServerClassStatus::default();
        for server in servers.into_iter().filter(|server| self.admits(server)) {
            let in_use = server.status.as_ref().is_some_and(|status| status.in_use);
            let list = if in_use { &mut status.servers_in_use } else { &mut status.servers_available };
            list.push(server.name_any());
        }
        status.servers_available.sort();
        status.servers_in_use.sort();
        status
    }
}

fn read_selector(class: &str, selector: &LabelSelector) -> Result<Selector, Error> {
    for expression in selector.match_expressions.iter().flatten() {
        let empty = expression.values.as_ref().is_none_or(Vec::is_empty);
        let problem = match (expression.operator.as_str(), empty) {
            ("In" | "NotIn", true) => "needs values",
            ("Exists" | "DoesNotExist", false) => "takes no values",
            ("In" | "NotIn" | "Exists" | "DoesNotExist", _) => continue,
            _ => {
                return Err(Error::UnknownOperator {
                    class: class.to_owned(),
                    key: expression.key.clone(),
                    operator: expression.operator.clone(),
                });
            }
        };
        return Err(Error::SelectorValues {
            class: class.to_owned(),
            key: expression.key.clone(),
            operator: expression.operator.clone(),
            problem,
        });
    }
    Selector::try_from(selector.clone()).map_err(|source| Error::Selector { class: class.to_owned(), source })
}

fn qualifies(qualifiers: &Qualifiers, server: &Server) -> bool {
    let Qualifiers { hardware, label_selectors } = qualifiers;
    let hardware_fits = hardware.is_empty()
        || server
            .spec
            .hardware
            .as_ref()
            .is_some_and(|actual| hardware.iter().any(|filter| filter.admits(actual)));
    hardware_fits && (label_selectors.is_empty() || any_label(label_selectors, server.labels()))
}

/// One pair of any map suffices: pairs inside a map are alternatives too, as they always were.
fn any_label(selectors: &[BTreeMap<String, String>], labels: &BTreeMap<String, String>) -> bool {
    selectors.iter().flatten().any(|(key, value)| labels.get(key) == Some(value))
}

/// Partial equality: what the filter leaves open matches anything.
pub trait Admits {
    /// True when `actual` has everything that the filter asks for.
    fn admits(&self, actual: &Self) -> bool;
}

impl Admits for String {
    fn admits(&self, actual: &Self) -> bool {
        self.is_empty() || self == actual
    }
}

impl Admits for i32 {
    fn admits(&self, actual: &Self) -> bool {
        *self == 0 || self == actual
    }
}

impl Admits for i64 {
    fn admits(&self, actual: &Self) -> bool {
        *self == 0 || self == actual
    }
}

impl<T: Admits> Admits for Option<T> {
    fn admits(&self, actual: &Self) -> bool {
        match (self, actual) {
            (None, _) => true,
            (Some(filter), Some(actual)) => filter.admits(actual),
            (Some(_), None) => false,
        }
    }
}

/// Index by index: the first entry of the filter is about the first entry of the machine.
impl<T: Admits> Admits for Vec<T> {
    fn admits(&self, actual: &Self) -> bool {
        self.len() <= actual.len() && self.iter().zip(actual).all(|(filter, actual)| filter.admits(actual))
    }
}

/// Field by field; a field that is forgotten here does not compile.
macro_rules! admits_by_field {
    ($($type:ident { $($field:ident),+ })+) => {$(
        impl Admits for $type {
            fn admits(&self, actual: &Self) -> bool {
                let Self { $($field),+ } = self;
                $($field.admits(&actual.$field))&&+
            }
        }
    )+};
}

admits_by_field! {
    HardwareInformation { system, compute, memory, storage, network }
    SystemInformation { uuid, manufacturer, product_name, version, serial_number, sku_number, family }
    ComputeInformation { total_core_count, total_thread_count, processor_count, processors }
    Processor { manufacturer, product_name, serial_number, speed, core_count, thread_count }
    MemoryInformation { total_size, module_count, modules }
    MemoryModule { manufacturer, product_name, serial_number, type_, size, speed }
    StorageInformation { total_size, device_count, devices }
    StorageDevice { type_, size, product_name, serial_number, name, device_name, uuid, wwid, contents }
    DiskContents { found, error }
    NetworkInformation { interface_count, interfaces }
    NetworkInterface { index, name, flags, mtu, mac, addresses }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
