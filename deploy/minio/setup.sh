#!/bin/bash
# Make the bucket, and users that may do no more than they need. May be run again: it changes what differs.
set -euo pipefail
here=${0%/*}

# Keys go through standard input: a command line can be read by others.
printf '%s\n%s\n' "$MINIO_ROOT_USER" "$MINIO_ROOT_PASSWORD" | mc --quiet alias set lake "$MINIO_URL"
mc --quiet mb --ignore-existing lake/starberg

user() { # name, password, policy
  printf '%s\n%s\n' "$1" "$2" | mc --quiet admin user add lake
  [[ $(mc --json admin user info lake "$1") == *"\"$3\""* ]] || mc --quiet admin policy attach lake "$3" --user "$1"
}

mc --quiet admin policy create lake starberg-read-write "$here/read-write.json"
mc --quiet admin policy create lake starberg-read-only "$here/read-only.json"
user "$MINIO_ACCESS_KEY" "$MINIO_SECRET_KEY" starberg-read-write
user "$NESSIE_MINIO_ACCESS_KEY" "$NESSIE_MINIO_SECRET_KEY" starberg-read-write
user "$DREMIO_MINIO_ACCESS_KEY" "$DREMIO_MINIO_SECRET_KEY" starberg-read-only
