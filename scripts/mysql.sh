#!/usr/bin/env bash
# A MySQL server for development and tests, separate from any other database of the machine: its own data
# folder, a loopback port, the user root without a password. By default it is genuine MySQL (fetch_mysql.sh).
#
#   mysql.sh start    fetch and initialise if needed, start, print the URL
#   mysql.sh stop     stop it
#   mysql.sh status   "running PID" (exit 0) or "stopped" (exit 1)
#   mysql.sh url      print the URL
#   mysql.sh wipe     stop it and remove its data folder
#
# Settings by environment:
#   TASKPLANE_MYSQL_DIR       data folder                      (default: var/mysql in the project)
#   TASKPLANE_MYSQL_PORT      loopback TCP port; 0: a free one (default: 33069)
#   TASKPLANE_MYSQL_DATABASE  created at start                 (default: taskplane)
#   TASKPLANE_MYSQL_SERVER    run this mysqld or mariadbd instead of a fetched MySQL
#   TASKPLANE_MYSQL_ARGS      more options for it, e.g. "--innodb-buffer-pool-size=2G --skip-log-bin"
#   TASKPLANE_MYSQL_CPUS      its taskset list                 (default: no restriction)
set -euo pipefail

SCRIPTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
DIR=$(realpath -m -- "${TASKPLANE_MYSQL_DIR:-$SCRIPTS/../var/mysql}")
DATABASE=${TASKPLANE_MYSQL_DATABASE:-taskplane}
SERVER=${TASKPLANE_MYSQL_SERVER:-}
DATA=$DIR/data LOG=$DIR/server.log PIDFILE=$DIR/server.pid PORTFILE=$DIR/port

say() { echo "mysql.sh: $*" >&2; }

is_mariadb() { [[ $("$SERVER" --version) == *MariaDB* ]]; }

# COMMAND starts the server and INITIALISE lays its data folder; both are complete but for the options of one run.
set_commands() {
  local options=(--datadir="$DATA" --tmpdir="$DIR")
  [ "$(id -u)" != 0 ] || options+=(--user=root)
  if [ -n "$SERVER" ] && is_mariadb; then
    COMMAND=("$SERVER" --no-defaults "${options[@]}")
    INITIALISE=(mariadb-install-db --no-defaults "${options[@]}" --auth-root-authentication-method=normal --skip-test-db)
    return
  fi
  if [ -n "$SERVER" ]; then COMMAND=("$SERVER" --no-defaults); else set_fetched_command; fi
  COMMAND+=("${options[@]}" --mysqlx=OFF --secure-file-priv=NULL --log-error-verbosity=2)
  INITIALISE=("${COMMAND[@]}" --initialize-insecure)
}

# The fetched server runs with the loader and the libc it was built for.
set_fetched_command() {
  local root loader libs
  root=$("$SCRIPTS/fetch_mysql.sh")
  for loader in "$root"/usr/lib64/ld-linux-x86-64.so.2 "$root"/usr/lib/ld-linux-aarch64.so.1; do
    [ -e "$loader" ] && break
  done
  libs=$(dirname "$(find "$root/usr/lib" -name libc.so.6 -print -quit)")
  COMMAND=("$loader" --library-path "$libs:$root/usr/lib/mysql/private" "$root/usr/sbin/mysqld" --no-defaults
    --basedir="$root/usr" --plugin-dir="$root/usr/lib/mysql/plugin"
    --lc-messages-dir="$root/usr/share/mysql" --character-sets-dir="$root/usr/share/mysql/charsets")
}

initialise() {
  [ -d "$DATA/mysql" ] && return 0
  rm -rf "$DATA"
  "${INITIALISE[@]}" >"$DIR/initialise.log" 2>&1 || { cat "$DIR/initialise.log" >&2; return 1; }
}

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A free one lies below the range from which the system takes ports for outgoing connections.
choose_port() {
  PORT=${TASKPLANE_MYSQL_PORT:-33069}
  [ "$PORT" = 0 ] || return 0
  PORT=$((20000 + RANDOM % 10000))
  while answers "$PORT"; do PORT=$((20000 + RANDOM % 10000)); done
}

launch() {
  local pin=()
  [ -z "${TASKPLANE_MYSQL_CPUS:-}" ] || pin=(taskset -c "$TASKPLANE_MYSQL_CPUS")
  echo "CREATE DATABASE IF NOT EXISTS \`$DATABASE\`;" >"$DIR/init.sql"
  # The socket's name is relative (to the data folder): a long path would not fit into a socket's address.
  # shellcheck disable=SC2086 # the options are words
  setsid "${pin[@]}" "${COMMAND[@]}" --bind-address=127.0.0.1 --port="$PORT" --socket=server.sock \
    --pid-file="$PIDFILE" --init-file="$DIR/init.sql" ${TASKPLANE_MYSQL_ARGS:-} >"$LOG" 2>&1 </dev/null &
}

wait_until_ready() {
  local pid=$1 _
  for _ in $(seq 1 300); do
    if grep -q 'ready for connections' "$LOG" && answers "$PORT"; then return 0; fi
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.2
  done
  tail -20 "$LOG" >&2
  say "did not start"
  return 1
}

running() { [ -s "$PIDFILE" ] && kill -0 "$(cat "$PIDFILE")" 2>/dev/null; }

url() {
  [ -s "$PORTFILE" ] || { say "never started in $DIR"; return 1; }
  echo "mysql+pymysql://root@127.0.0.1:$(cat "$PORTFILE")/$DATABASE"
}

start() {
  if ! running; then
    mkdir -p "$DIR"
    chmod 700 "$DIR"
    set_commands
    initialise
    choose_port
    : >"$LOG"
    launch
    wait_until_ready $!
    echo "$PORT" >"$PORTFILE"
  fi
  url
}

stop() {
  running || { rm -f "$PIDFILE"; return 0; }
  local pid _
  pid=$(cat "$PIDFILE")
  kill "$pid"
  # The server removes the file last. (Its pid may remain as a zombie if no process reaps orphans.)
  for _ in $(seq 1 300); do
    [ -e "$PIDFILE" ] || return 0
    sleep 0.1
  done
  say "pid $pid did not stop in 30 s"
  return 1
}

case ${1:-} in
  start) start ;;
  stop) stop ;;
  status) if running; then echo "running $(cat "$PIDFILE")"; else echo stopped; exit 1; fi ;;
  url) url ;;
  wipe) stop && rm -rf "$DIR" ;;
  *)
    sed -n '2,/^set -euo/p' "$0" | sed '$d; s/^# \{0,1\}//'
    exit 2
    ;;
esac
