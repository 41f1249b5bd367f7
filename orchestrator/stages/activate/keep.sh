# Let the running system stay until the next boot: disarm the way back, no more.
#
# $1 new toplevel   $2 run   $3 seconds to wait for the lock
set -u
run=$2
take_host "$3" "the confirmation of run $run" || exit
if is_given_up || ! disarm || [ "$(running)" != "$1" ]; then
  echo "the way back was taken: it runs $(running)" >&2
  exit 71
fi
rm -f "/nix/var/nix/gcroots/orchestrate/$run"
