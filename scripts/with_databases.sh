#!/usr/bin/env bash
# Runs a command with databases for tests, and stops the databases after the command, also after a failure.
#
#   with_databases.sh COMMAND [ARGUMENT…]
#
# The command finds these in its environment:
#   TASKPLANE_TEST_MYSQL_URL     always: the caller's, else a throw-away server, the first to be had of: genuine
#                                MySQL (mysql.sh), a mysqld or mariadbd on the PATH, one installed by apt (root)
#   TASKPLANE_TEST_MARIADB_URL   the caller's, else a throw-away server by the mariadbd on the PATH or by apt (root);
#                                without either unset, but in CI, which must try every database
set -euo pipefail

SCRIPTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
FOLDER=$(mktemp -d "${TMPDIR:-/tmp}/taskplane-test.XXXXXX")
# Debian keeps servers where not everybody's PATH goes.
PATH=$PATH:/usr/sbin

say() { echo "with_databases.sh: $*" >&2; }

# start NAME [SERVER]: prints the URL. Tests kill processes, not machines: the page cache is durable enough.
start() {
  TASKPLANE_MYSQL_DIR=$FOLDER/$1 TASKPLANE_MYSQL_PORT=0 TASKPLANE_MYSQL_SERVER=${2:-} \
    TASKPLANE_MYSQL_ARGS="--skip-log-bin --innodb-flush-log-at-trx-commit=2 --max-connections=500" "$SCRIPTS/mysql.sh" start
}

stop_all() {
  local folder
  for folder in "$FOLDER"/*/; do
    [ ! -d "$folder" ] || TASKPLANE_MYSQL_DIR=$folder "$SCRIPTS/mysql.sh" wipe
  done
  rm -rf "$FOLDER"
}

install_by_apt() {
  [ "$(id -u)" = 0 ] || { say "not root: apt cannot install a server"; return 1; }
  say "installing MariaDB (the server alone, no service)"
  apt-get -qq update >&2 &&
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y install mariadb-server-core mariadb-client-core >&2
}

start_mysql() {
  local server
  start mysql && return 0
  say "no genuine MySQL, looking for another server"
  server=$(command -v mysqld || command -v mariadbd) ||
    { install_by_apt && server=$(command -v mariadbd); } ||
    { say "no MySQL server to be had: set TASKPLANE_TEST_MYSQL_URL"; return 1; }
  start mysql-from-path "$server"
}

trap stop_all EXIT
if [ -z "${TASKPLANE_TEST_MYSQL_URL:-}" ]; then
  TASKPLANE_TEST_MYSQL_URL=$(start_mysql)
fi
if [ -z "${TASKPLANE_TEST_MARIADB_URL:-}" ]; then
  if mariadbd=$(command -v mariadbd) || { install_by_apt && mariadbd=$(command -v mariadbd); }; then
    TASKPLANE_TEST_MARIADB_URL=$(start mariadb "$mariadbd")
  elif [ -n "${CI:-}" ]; then
    say "no MariaDB to be had: set TASKPLANE_TEST_MARIADB_URL"
    exit 1
  fi
fi
export TASKPLANE_TEST_MYSQL_URL
[ -z "${TASKPLANE_TEST_MARIADB_URL:-}" ] || export TASKPLANE_TEST_MARIADB_URL
"$@"
