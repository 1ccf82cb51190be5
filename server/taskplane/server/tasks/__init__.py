"""The state manager: the only writer of tasks, and what follows from its commits."""
