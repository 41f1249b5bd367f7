# The automatic rollback, by the host itself if nobody confirms in time: a
# controller, a worker, a network that died, or an activation that never ends.
#
# $old: the system to go back to
# $seconds: how long its activation may take
# $last_resort: reboot or stay, if that fails

set -u
# The new system's tools may not run on this machine.
PATH=$old/sw/bin:$PATH
if ! take_host 30 "the automatic rollback"; then
  echo "$why" >&2
  # A script that doesn't let go hangs or was stopped: it is ended, so that it can't go
  # on later. Whatever becomes of that, the host goes back.
  for pid in $(holders); do kill -KILL "$pid"; done
  take_host 5 "the automatic rollback" || echo "$why" >&2
fi
stop_activation
# What an activation leaves behind must not hold the host.
NIXOS_NO_CHECK=1 timeout -k 10 "$seconds" "$old/bin/switch-to-configuration" test 9>&-
ended=$?
if has_ended_well && [ "$(running)" = "$old" ]; then
  forget_unconfirmed
  exit "$ended"
fi
last_resort "$last_resort"
exit 1
