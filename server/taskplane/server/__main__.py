"""`python -m taskplane.server`: a server with its settings from the environment."""

import sys

from taskplane.server.config import ServerConfig
from taskplane.server.process import run

if __name__ == "__main__":
    sys.exit(run(ServerConfig()))
