"""The HTTP face: REST and server-sent events, over the same services as gRPC. Translates and validates, no more."""
