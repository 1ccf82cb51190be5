"""An HTTP unit: the same executors, with HTTP in both directions instead of the stream."""
