//! Started by its own PID 1 in namespaces, at native speed.

mod impostor;
mod plane;
mod simulated_machines;
mod talos;
mod workload;
