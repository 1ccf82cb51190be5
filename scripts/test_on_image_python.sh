#!/usr/bin/env bash
# Runs those tests that need no database server on the Python of the image, in a separate environment. Without such
# a Python on this machine it says so and does nothing.
#
#   test_on_image_python.sh [PYTEST-ARGUMENT…]
#
# By default a part that takes some minutes: any part finds a dependence on the version of Python.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=$(sed -n 's/^FROM python:\([0-9]*\.[0-9]*\).*/\1/p' Dockerfile | head -n 1)
status=0
scripts/environment.sh dev "$version" || status=$?
if [ "$status" = 3 ]; then
  echo "No Python $version here, which the image has: not tested."
  exit 0
fi
[ "$status" = 0 ] || exit "$status"

[ $# -gt 0 ] || set -- tests/core tests/unit_sdk tests/tasks tests/client tests/observability tests/services \
  tests/http_units/test_serve_http.py tests/rpc/test_failed_start.py tests/rpc/test_failed_writer.py \
  tests/rpc/test_idempotency.py tests/rpc/test_other_services.py tests/rpc/test_pause.py tests/rpc/test_watch.py
# No database server is wanted here, so tests of MySQL and MariaDB are left out, not skipped.
exec env -u TASKPLANE_TEST_MYSQL_URL -u TASKPLANE_TEST_MARIADB_URL \
  ".venv-$version/bin/python" -m pytest -n auto --dist loadfile -p no:cacheprovider -k "not mysql and not mariadb" "$@"
