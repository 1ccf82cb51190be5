"""The command line of taskplane: see docs/reference/cli.md. Needs the `cli` extra, and `server` for `taskplane serve`."""
