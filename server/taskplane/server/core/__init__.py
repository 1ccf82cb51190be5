"""The domain model: tasks, units, and the rules for their changes. No I/O, no gRPC, no SQL."""
