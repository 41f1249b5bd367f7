# Wait for the end of an activation whose session was lost.
#
# $1 new toplevel   $2 run   $3 seconds   $4 seconds to wait for the lock
set -u
run=$2
# Whoever was to begin it may be about to.
take_host "$4" "who waits for run $run" || exit
let_go
if has_begun "$1" test; then
  rejoin "$1" "$3"
  exit
fi
echo "nothing was activated, or it has rebooted since: it runs $(running)" >&2
exit 76
