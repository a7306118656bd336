//! The first process of a machine in namespaces, as a program of its own; see `container::enter`.

fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    bloomery_lab::container::enter::run(&arguments)
}
