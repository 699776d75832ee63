#!/bin/sh
# Prints the Secrets nats-tls, mongo-tls and headrace-gateway-tls for clusters without cert-manager. The authority is
# created here and not stored. Run it again to renew all Secrets together.
# usage: secrets.sh [days] | kubectl apply -f -
set -eu

days=${1:-365}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days "$days" \
  -subj "/CN=Headrace" -addext keyUsage=critical,keyCertSign,cRLSign -keyout ca.key -out ca.crt

issue() {  # arguments: name of the Secret, DNS names
  secret=$1
  shift
  names=$(printf ',DNS:%s' "$@")
  cat > extensions <<EXTENSIONS
subjectAltName=${names#,}
extendedKeyUsage=serverAuth,clientAuth
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
EXTENSIONS
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$1" -keyout tls.key -out tls.csr
  openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days "$days" -extfile extensions -out tls.crt
  cat <<SECRET
---
apiVersion: v1
kind: Secret
metadata: {name: $secret, namespace: headrace}
type: kubernetes.io/tls
data:
  tls.crt: $(base64 -w0 tls.crt)
  tls.key: $(base64 -w0 tls.key)
  ca.crt: $(base64 -w0 ca.crt)
SECRET
}

issue nats-tls nats nats.headrace.svc nats-0.nats-peers nats-1.nats-peers nats-2.nats-peers
issue mongo-tls mongo mongo-0.mongo mongo-1.mongo mongo-2.mongo localhost
issue headrace-gateway-tls headrace-gateway headrace-gateway.headrace.svc
