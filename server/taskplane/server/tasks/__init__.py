"""The state manager, the only writer of tasks, and the consumers of committed events."""
