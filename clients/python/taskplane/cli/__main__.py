"""The entry point `taskplane`, and `python -m taskplane.cli`."""

import os
import sys

CLI_PACKAGES = {"rich", "typer"}


def main() -> None:
    """Run the command line. Without the `cli` extra, print the package to install and exit with 1."""
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # hides gRPC's log lines on stderr
    try:
        from taskplane.cli.app import app  # noqa: PLC0415  needs packages that may be missing
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in CLI_PACKAGES:
            raise
        sys.exit("error: the command line needs more packages: pip install 'taskplane[cli]'")
    app(prog_name="taskplane")


if __name__ == "__main__":
    main()
