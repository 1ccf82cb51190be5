"""The command line of taskplane: see docs/reference/cli.md.

Needs the extra `cli`, and `server` for `taskplane serve`.
"""
