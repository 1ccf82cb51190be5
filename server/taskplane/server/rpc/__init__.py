"""The gRPC API: translation and validation of requests."""
