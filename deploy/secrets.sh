#!/bin/sh
# Makes deploy/.env with secrets for compose.yaml, once; only its owner can read it.
set -eu
cd "$(dirname "$0")"
[ -e .env ] && exit 0
umask 077
secret() { head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
for name in POSTGRES_PASSWORD STORE_ACCESS_KEY STORE_SECRET_KEY GRAFANA_PASSWORD; do
    printf '%s=%s\n' "$name" "$(secret)"
done > .env.part
mv .env.part .env
echo 'Made deploy/.env' >&2
