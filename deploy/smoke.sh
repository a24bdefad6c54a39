#!/usr/bin/env bash
# From nothing to an answer of Dremio's: containers, its first user, a warehouse, sources and views, one question.
# May be repeated. Needs docker compose, uv, curl and openssl.
# It was not run by those who wrote it, as there is no container engine where starberg is developed: if it fails, its
# last lines say at which step. `docker compose down --volumes` forgets everything again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

step() { printf '\n== %s\n' "$1" >&2; }
starberg() { uv run --extra dremio starberg "$@"; }

printf 'This script was not run before it was given to you; please tell what fails.\n' >&2

if [[ ! -e .env ]]; then
  step 'writing .env, with passwords nobody knows'
  (umask 077 && while IFS= read -r line; do
    [[ $line =~ ^[A-Z_]+=$ ]] && line+="s1$(openssl rand -hex 20)"
    printf '%s\n' "$line"
  done <.env.example >.env)
fi
set -a
# shellcheck source=/dev/null
. ./.env
set +a

step 'starting MinIO, Nessie, PostgreSQL and Dremio'
docker compose up --detach --wait minio postgres nessie dremio

step 'making the administrator of Dremio, unless there is one'
# The password goes through standard input: a command line can be read by others.
printf '{"userName": "%s", "firstName": "starberg", "lastName": "starberg", "email": "%s@localhost", "password": "%s"}' \
  "$DREMIO_USER" "$DREMIO_USER" "$DREMIO_PASSWORD" |
  curl --silent --show-error --output /dev/null --write-out 'Dremio answered %{http_code}\n' \
    --request PUT --header 'Content-Type: application/json' --header 'Authorization: _dremionull' \
    --data-binary @- "http://$DREMIO_HOST:9047/apiv2/bootstrap/firstuser" >&2

step 'a warehouse: extract, build, check, publish'
starberg demo games

step 'sources, views and functions in Dremio'
starberg dremio setup --warehouse games

step 'a question, answered by Dremio'
starberg query --engine dremio --warehouse games "select count(*) as games from fact_games"
