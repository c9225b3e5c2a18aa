#!/bin/sh
# popbridge beside Dovecot over imapc, native Dovecot and a raw IMAP client, on
# the same mail and the same link. docs/benchmarks.md tells what is measured.
#
#   benches/peers.sh                    everything, three rounds: long
#   benches/peers.sh quick              small mailboxes: some minutes
#   benches/peers.sh quick retr poll    these rows only
#   benches/peers.sh --rounds 1 --limit 60
#
# Everything listens on 127.0.0.1 and a free port, lives in temporary folders,
# and is ended by its process id. The table goes to standard output.
set -eu
cd "$(dirname "$0")/.."

PATH=$PATH:/usr/sbin
missing=
command -v dovecot >/dev/null && [ -x /usr/lib/dovecot/imap ] || missing="$missing dovecot-imapd"
[ -x /usr/lib/dovecot/pop3 ] || missing="$missing dovecot-pop3d"
command -v fetchmail >/dev/null || missing="$missing fetchmail"
[ -z "$missing" ] || {
    echo "packages are missing: apt-get install$missing" >&2
    exit 69
}
[ -r /proc/self/smaps_rollup ] || {
    echo "/proc/PID/smaps_rollup is missing: memory is read from it (Linux 4.14)" >&2
    exit 69
}
# 5,000 idle sessions take two descriptors each, on either side.
ulimit -n "$(ulimit -H -n)"
exec cargo bench --quiet --bench peers -- "$@"
