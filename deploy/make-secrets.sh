#!/bin/sh
# Writes a random value for each secret of the flagship bus to deploy/secrets/, where none is there yet. Replace those
# that a system gave to you.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets
chmod 700 secrets # the folder keeps others out; the files are readable, since containers read them as another user

random() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

for name in billing-webhook-secret helpdesk-webhook-secret crm-client-secret erp-client-secret billing-password \
    email-api-key helpdesk-token; do
    [ -e "secrets/$name" ] || random 24 >"secrets/$name"
done
# Standard Webhooks: whsec_ and base 64.
[ -e secrets/crm-webhook-secret ] ||
    printf 'whsec_%s' "$(head -c 24 /dev/urandom | base64 | tr -d '\n')" >secrets/crm-webhook-secret
chmod 444 secrets/*
