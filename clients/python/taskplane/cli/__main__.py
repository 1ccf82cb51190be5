"""The entry point `taskplane`, and `python -m taskplane.cli`."""

import os
import sys

CLI_PACKAGES = {"rich", "typer"}


def main() -> None:
    """Runs the command line. Without the `cli` extra: says in a line what to install, exit code 1."""
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # gRPC would write its own lines beside ours on stderr
    try:
        from taskplane.cli.app import app  # noqa: PLC0415  needs packages that may be missing
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in CLI_PACKAGES:
            raise
        sys.exit("error: the command line needs more packages: pip install 'taskplane[cli]'")
    app(prog_name="taskplane")


if __name__ == "__main__":
    main()
