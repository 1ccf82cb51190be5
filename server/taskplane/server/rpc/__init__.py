"""The gRPC faces: they translate and validate, and decide nothing."""
