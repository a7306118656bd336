//! Against a real UDP server on loopback.
