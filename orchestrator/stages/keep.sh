# Let the running system stay until the next boot: disarm the way back, no more.
#
# $1 new toplevel   $2 run
set -u
if ! disarm || [ "$(running)" != "$1" ]; then
  echo "the way back was taken: it runs $(running)" >&2
  exit 71
fi
rm -f "/nix/var/nix/gcroots/orchestrate/$2"
