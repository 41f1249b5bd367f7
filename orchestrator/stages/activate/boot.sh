# Make a system the boot default without activating it; undone if that fails.
#
# $new: the system to boot
# $default: what is the boot default now, or empty
# $checks: ask or skip, the system's own checks before a switch
# $run: the run's id
# $nixos_rebuild: the package whose nixos-rebuild does it, or empty
# $generation: the number of the profile's generation that it is, or empty
# $seconds: how long the boot loader may take
# $patience: seconds to wait for the lock

set -u
if [ "$checks" = skip ]; then
  no_check=yes
  generation=$(generation_of "$new")
fi
take_host_or_leave "$patience" "the boot default of run $run"
if is_given_up; then
  # Whoever came before has failed, and sets it back.
  let_go
  activation_end "$seconds"
  leave "$exit_given_up" "it boots $(boot_default)"
fi
leave_unless_switchable "$new"
boots=$(boot_default)
if [ "$boots" != "$new" ] && [ "$boots" != "$default" ]; then
  leave "$exit_boot_drifted" "it boots ${boots:-no system}, not ${default:-none}"
fi
if has_begun "$new" boot; then
  # Its session was lost: it goes on, or has ended.
  let_go
  activation_end "$seconds"
else
  leave_if_busy
  take_armed_rollback "$patience" "the boot default of run $run"
  if [ -z "$nixos_rebuild" ]; then
    set_profile "$new" "$generation" ||
      leave "$exit_profile_unset" "it boots $(boot_default)"
  fi
  activate_and_wait "$new" boot "$nixos_rebuild" "$seconds"
fi
if [ "$ended" = 0 ] && [ "$(boot_default)" = "$new" ]; then
  leave "$exit_done"
fi
failed=$ended
if [ -n "$default" ]; then
  take_host_or_leave "$patience" "the boot default of run $run"
  if ! is_given_up; then
    give_up
    no_check=yes
    stop_activation
    set_profile "$default" "$(generation_of "$default")"
    activate "$default" boot ""
  fi
  let_go
  activation_end "$seconds"
fi
say boots "$(boot_default)"
[ "$failed" != 0 ] || leave "$exit_not_default"
# Failed units don't make a boot default.
[ "$failed" != 4 ] || { say activation 4; leave "$exit_activation_failed"; }
ended=$failed
leave_as_activated
