#!/bin/sh
# Peak memory of the bridge (VmHWM) while 20 clients fetch at once over one
# bridge from a private Dovecot: messages of 1 MB, then messages of 50 MB.
# Fails where either takes 40 MB or more. Everything listens on 127.0.0.1 and
# a free port, and what was started is ended by its process id.
set -eu
cd "$(dirname "$0")/.."

PATH=$PATH:/usr/sbin
command -v dovecot >/dev/null || {
    echo "dovecot is missing: apt-get install dovecot-imapd" >&2
    exit 69
}
[ -r /proc/self/status ] || {
    echo "/proc is missing: the figures are read from /proc/PID/status" >&2
    exit 69
}
exec cargo test --quiet --release --bench memory -- --ignored --nocapture
