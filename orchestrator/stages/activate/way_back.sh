# The way back, taken by the host itself where nobody confirmed in time: a
# controller, a worker, a network that died, or an activation that never ends.
#
# $1 old toplevel   $2 seconds that its activation may take   $3 reboot or stay
set -u
if ! take_host 30 "the way back"; then
  # A script that doesn't let go hangs or was stopped: it is ended, so that it can't go
  # on later. Whatever becomes of that, the host goes back.
  for pid in $(holders); do kill -KILL "$pid"; done
  take_host 5 "the way back"
fi
stop_activation
# What an activation leaves behind must not hold the host.
timeout -k 10 "$2" "$1/bin/switch-to-configuration" test 9>&-
code=$?
if { [ "$code" = 0 ] || [ "$code" = 4 ]; } && [ "$(running)" = "$1" ]; then
  exit "$code"
fi
last_resort "$3"
exit 1
