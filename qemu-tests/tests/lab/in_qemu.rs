//! With machines that QEMU runs.

mod bmcs;
mod boot_paths;
mod faults;
mod machines;
mod power_cut;
mod site_dhcp;
mod talos;
mod workload;
