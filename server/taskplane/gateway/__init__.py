"""The REST API: requests and responses of the gRPC API in JSON, and server-sent events."""
