//! Transfers over loopback with packets written by hand, and the parser under random bytes.

mod parser;
mod socket;
mod transfer;
