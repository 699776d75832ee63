#!/bin/sh
# Prints the Secret headrace-secrets with newly generated values. Apply it once, and keep a copy in a safe place.
# usage: secret.sh | kubectl apply -f -
set -eu

# begins with a letter: nats-server would parse some other values as numbers
drawn() { echo "p$(openssl rand -hex 24)"; }

cat <<SECRET
apiVersion: v1
kind: Secret
metadata:
  name: headrace-secrets
  namespace: headrace
stringData:
  master-key: "$(openssl rand -base64 32)"
  admin-password: "$(drawn)"
  registration-token: "$(drawn)"
  mongodb-password: "$(drawn)"
  mongodb-identity: "$(drawn)"
  mongodb-projects: "$(drawn)"
  mongodb-builds: "$(drawn)"
  mongodb-runners: "$(drawn)"
  mongodb-notifications: "$(drawn)"
  mongodb-migrate: "$(drawn)"
  mongodb-keyfile: "$(openssl rand -hex 128)"
  nats-identity: "$(drawn)"
  nats-projects: "$(drawn)"
  nats-builds: "$(drawn)"
  nats-runners: "$(drawn)"
  nats-notifications: "$(drawn)"
  nats-gateway: "$(drawn)"
  nats-migrate: "$(drawn)"
  nats-consumer: "$(drawn)"
  nats-routes: "$(drawn)"
  mail-password: ""
  oidc-client-secret: ""
  s3-access-key: ""
  s3-secret-key: ""
  backup-key: "$(openssl rand -base64 32)"
SECRET
