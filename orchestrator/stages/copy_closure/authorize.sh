# Let a key in for one command and a while, and for nothing else (sshd(8),
# AUTHORIZED_KEYS FILE FORMAT).
#
# $1 the command, with quotes and backslashes escaped   $2 the public key
# $3 for how many seconds
set -eu
umask 077
mkdir -p "$HOME/.ssh"
file=$HOME/.ssh/authorized_keys
[ ! -s "$file" ] || [ -z "$(tail -c 1 "$file")" ] || echo >>"$file"
until=$(date -d "@$(($(date +%s) + $3))" +%Y%m%d%H%M%S)
printf 'restrict,expiry-time="%s",command="%s" %s\n' "$until" "$1" "$2" >>"$file"
