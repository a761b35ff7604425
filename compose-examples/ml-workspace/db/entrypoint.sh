#!/bin/bash
# Makes the database cluster on the first start, then becomes the server.
#
# DB_NAME, DB_USER       database and its owner
# DB_PASSWORD_FILE       file with the owner's password
# /etc/initdb/*.sql      run once, as the owner, in file order
set -euo pipefail

if [ "${1:-}" != postgres ]; then
  exec "$@"
fi

if [ "$(id -u)" -eq 0 ]; then
  chown postgres:postgres "$(dirname "$PGDATA")" /var/run/postgresql
  exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$0" "$@"
fi

# As process 1, bash would ignore a stop request during the first start.
trap 'exit 143' INT TERM

make_cluster() {
  local new=$PGDATA.new
  # what a start that was cut short left behind
  rm -rf "$new"
  echo "entrypoint: making a cluster in $PGDATA"
  initdb --pgdata="$new" --username=postgres --auth-local=peer --auth-host=scram-sha-256 \
    --encoding=UTF8 --locale=C.UTF-8 --no-instructions >/dev/null
  echo 'host all all all scram-sha-256' >>"$new/pg_hba.conf"
  # the owner too may use the socket during set-up; reverted below
  cp "$new/pg_hba.conf" "$new/pg_hba.conf.final"
  echo 'local all all trust' >"$new/pg_hba.conf"

  pg_ctl --pgdata="$new" --silent --wait --options="-c listen_addresses=''" start
  # psql reads the password itself: on a command line, `ps` would show it
  psql --quiet --no-psqlrc --username=postgres --set=ON_ERROR_STOP=1 \
    --set=owner="$DB_USER" --set=database="$DB_NAME" <<'SQL'
\set password `cat "$DB_PASSWORD_FILE"`
CREATE ROLE :"owner" LOGIN PASSWORD :'password';
CREATE DATABASE :"database" OWNER :"owner";
SQL
  local script
  for script in /etc/initdb/*.sql; do
    echo "entrypoint: running $script"
    psql --quiet --no-psqlrc --username="$DB_USER" --dbname="$DB_NAME" --set=ON_ERROR_STOP=1 --file="$script"
  done
  pg_ctl --pgdata="$new" --silent --wait --mode=fast stop

  mv "$new/pg_hba.conf.final" "$new/pg_hba.conf"
  # a whole cluster or none
  sync
  mv "$new" "$PGDATA"
}

[ -s "$PGDATA/PG_VERSION" ] || make_cluster
exec "$@"
