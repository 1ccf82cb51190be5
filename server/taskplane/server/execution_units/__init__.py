"""The server's side of execution units: registry, sessions, leases, dispatch loop and reports."""
