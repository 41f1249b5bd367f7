# Let a key in for one command and a while, and for nothing else (sshd(8),
# AUTHORIZED_KEYS FILE FORMAT).
#
# $command: what it may do, with quotes and backslashes escaped
# $key: the public key
# $seconds: for how long

set -eu
umask 077
mkdir -p "$HOME/.ssh"
file=$HOME/.ssh/authorized_keys
[ ! -s "$file" ] || [ -z "$(tail -c 1 "$file")" ] || echo >>"$file"
until=$(date -d "@$(($(date +%s) + seconds))" +%Y%m%d%H%M%S)
printf 'restrict,expiry-time="%s",command="%s" %s\n' "$until" "$command" "$key" >>"$file"
leave "$exit_done"
