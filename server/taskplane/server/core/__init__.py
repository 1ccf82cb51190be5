"""What a task is and what may become of it: no I/O, no gRPC, no SQL."""
