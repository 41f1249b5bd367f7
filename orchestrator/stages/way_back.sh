# The way back, taken by the host itself where nobody confirmed in time: a
# controller, a worker, a network that died, or an activation that never ends.
#
# $1 old toplevel   $2 seconds that its activation may take   $3 reboot or stay
set -u
stop_activation
timeout -k 10 "$2" "$1/bin/switch-to-configuration" test
code=$?
if { [ "$code" = 0 ] || [ "$code" = 4 ]; } && [ "$(running)" = "$1" ]; then
  exit "$code"
fi
last_resort "$3"
exit 1
