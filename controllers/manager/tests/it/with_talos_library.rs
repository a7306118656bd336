//! With Talos's own library: `make test-apiserver` names these by this module.

mod configurations;
