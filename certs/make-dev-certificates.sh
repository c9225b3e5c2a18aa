#!/bin/sh
# Makes a private authority and a server certificate for localhost, 127.0.0.1 and
# ::1, for development only, in this script's folder. Git ignores what it makes.
#
#   ca.crt  ca.key            the authority; clients trust ca.crt
#   server.crt  server.key    what the bridge shows
set -eu
umask 077
cd "$(dirname "$0")"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

new_key() {
    openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$1"
}

new_key ca.key
openssl req -x509 -new -key ca.key -sha256 -days 365 -out ca.crt \
    -subj "/CN=popbridge development authority" \
    -addext "keyUsage=critical,keyCertSign,cRLSign"

new_key server.key
openssl req -new -key server.key -subj "/CN=localhost" -out "$work/server.csr"
cat >"$work/extensions" <<END
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1, IP:::1
END
openssl x509 -req -in "$work/server.csr" -CA ca.crt -CAkey ca.key -sha256 -days 365 \
    -set_serial "0x$(openssl rand -hex 8)" -extfile "$work/extensions" -out server.crt

openssl verify -CAfile ca.crt -verify_hostname localhost server.crt
