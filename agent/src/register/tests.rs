//! Against a real gRPC server on loopback.
