# Wait for the end of an activation whose connection was lost.
#
# $1 new toplevel   $2 run   $3 seconds   $4 seconds to wait for the lock
# $5 the boot in which nothing of it can have been forgotten
set -u
run=$2
# Whoever was to begin it may be about to.
take_host "$4" "who waits for run $run" || exit
let_go
if has_begun "$1" test; then
  rejoin "$1" "$3"
  exit
fi
read -r boot </proc/sys/kernel/random/boot_id
[ "$boot" != "$5" ] || exit 77
echo "it has rebooted since: it runs $(running)" >&2
exit 76
