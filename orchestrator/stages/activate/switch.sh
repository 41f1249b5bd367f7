# Note what runs, arm the automatic rollback, activate the new system without making it
# the boot default (nixus's order).
#
# $new: the system to activate
# $old: the system that must run now, or empty
# $run: the run's id
# $seconds: until the host goes back by itself
# $nixos_rebuild: the package whose nixos-rebuild does it, or empty
# $rollback: the text of the automatic rollback
# $rollback_seconds: how long the old system's activation may take then
# $last_resort: reboot or stay, if that fails
# $patience: seconds to wait for the lock

set -u
# The default accuracy of a timer is a minute (systemd.timer(5)).
arm() {
  # After the activation the PATH is the new system's, whose tools may not run here: one
  # that is compiled for another processor dies of its first instruction.
  shell=$old/sw/bin/sh
  [ -x "$shell" ] || shell='sh'
  systemd-run --quiet --collect --no-ask-password --unit="$rollback_unit" \
    --on-active="${seconds}s" --timer-property=AccuracySec=100ms --service-type=oneshot \
    --setenv=PATH="$old/sw/bin:$PATH" "$shell" "$state/automatic-rollback.sh" \
    "old=$old" "seconds=$rollback_seconds" "last_resort=$last_resort" --
}
take_host_or_leave "$patience" "the switch of run $run"
! is_given_up || leave "$exit_given_up" "it runs $(running)"
if has_begun "$new" test; then
  # Whoever began it is gone. It goes on or has ended, and isn't done again, not
  # even if the host has left it by the automatic rollback.
  let_go
  rejoin "$new" "$seconds"
fi
now=$(running)
if [ "$now" != "$new" ] && [ "$now" != "$old" ] && ! says "$unconfirmed" "$now $old"; then
  leave "$exit_drifted" "it runs ${now:-no system}, not ${old:-none}"
fi
leave_unless_switchable "$new"
leave_if_busy
root

# What the next boot gives may be another system than when the plan was made.
noted=
[ ! -e "$state/before" ] || read -r noted _ <"$state/before"
[ "$noted" = "$run" ] || echo "$run $(boot_default)" >"$state/before"

note_unconfirmed
note_failed_units
if [ -n "$old" ]; then
  printf '%s\n' "$rollback" >"$state/automatic-rollback.sh"
  if ! arm 2>/dev/null; then
    # One is armed already, by a run that went before.
    disarm
    systemctl reset-failed "$rollback_unit.service" "$rollback_unit.timer" 2>/dev/null
    arm || leave "$exit_unarmed"
  fi
fi
# A second less than the automatic rollback is armed for: which of the two comes first
# would be chance, and that it did not end has to be reported.
activate_and_wait "$new" test "$nixos_rebuild" "$((seconds > 1 ? seconds - 1 : 1))"
leave_as_activated
