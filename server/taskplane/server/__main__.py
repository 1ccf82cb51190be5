"""`python -m taskplane.server`: a server with its settings from the environment."""

import sys

from taskplane.server.app import run
from taskplane.server.config import ServerConfig

if __name__ == "__main__":
    sys.exit(run(ServerConfig()))
