import json
import subprocess
import sys

ALLOWED = {"google", "taskplane", "typing_extensions"}  # the last one is a dependency of grpcio
# grpcio imports its sister packages where they are installed, and Cython's runtime.
ALLOWED_PREFIXES = ("grpc", "cython", "_cython")
PROGRAM = """
import json, sys
before = set(sys.modules)
import taskplane.client, taskplane.client.aio
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_the_client_needs_grpc_and_protobuf_only() -> None:
    printed = subprocess.check_output([sys.executable, "-I", "-c", PROGRAM], text=True)  # noqa: S603  our own program
    loaded = json.loads(printed)
    tops = {name.split(".")[0] for name in loaded if not name.startswith(ALLOWED_PREFIXES)}
    assert tops - sys.stdlib_module_names <= ALLOWED
    parts = {".".join(name.split(".")[:2]) for name in loaded if name.startswith("taskplane.")}
    assert parts == {"taskplane.client", "taskplane.protocol", "taskplane.v1"}
