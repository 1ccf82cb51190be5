#!/usr/bin/env bash
# Repeats the steps of the Dockerfile in a folder instead of an image: builds the wheel, installs the wheel with the
# pinned requirements into a new environment, serves, checks the health like the image, and stops the server.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=$(mktemp -d)
server=
stop() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  rm -rf "$folder"
}
trap stop EXIT

# The program of the Dockerfile's HEALTHCHECK.
health_check=$(.venv/bin/python -c '
import json, pathlib
text = pathlib.Path("Dockerfile").read_text().replace("\\\n", "")
line = next(line for line in text.splitlines() if line.startswith("HEALTHCHECK"))
print(json.loads(line.partition(" CMD ")[2])[2])')

.venv/bin/python -m venv "$folder/environment"
bin=$folder/environment/bin
"$bin/pip" install --quiet --requirement requirements/runtime.txt
"$bin/pip" install --quiet --no-deps --no-build-isolation .

cd "$folder" # away from the sources, so that only what is installed can be imported
GRPC_VERBOSITY=ERROR "$bin/taskplane" serve --grpc 127.0.0.1:0 --http 127.0.0.1:0 >out 2>err &
server=$!
for _ in $(seq 1 100); do
  grep -q '^ready grpc=' out && break
  kill -0 "$server" || { cat err >&2; exit 1; }
  sleep 0.2
done
address=$(sed -n 's/^ready grpc=\([^ ]*\).*/\1/p' out)
"$bin/python" -c "${health_check//127.0.0.1:50051/$address}"
"$bin/taskplane" --server "$address" task list
kill "$server"
wait "$server"
server=
echo "The package installs, serves and stops."
