# Make the running system stay: disarm the automatic rollback, then profile and boot loader.
#
# $new: the system that is to stay
# $old: the one before it, or empty
# $run: the run's id
# $nixos_rebuild: the package whose nixos-rebuild does it, or empty
# $generation: the number of the profile's generation that it is, or empty
# $seconds: how long profile and boot loader may take
# $patience: seconds to wait for the lock

set -u
take_host_or_leave "$patience" "the confirmation of run $run"
# By its own hand, nixos-rebuild commits by `switch`. Without it, `boot` does the rest
# of what `switch` is: the system was activated by `test`, and runs.
if [ -n "$nixos_rebuild" ]; then action=switch; else action=boot; fi
if has_begun "$new" "$action"; then
  # Its session was lost: it goes on, or has ended.
  let_go
  activation_end "$seconds"
else
  disarm_or_leave "$new" "$old"
  if [ -z "$nixos_rebuild" ]; then
    set_profile "$new" "$generation" || leave "$exit_profile_unset"
  fi
  activate_and_wait "$new" "$action" "$nixos_rebuild" "$seconds"
fi
has_ended_well || leave_as_activated
if [ "$(running)" != "$new" ] || [ "$(boot_default)" != "$new" ]; then
  leave "$exit_not_default" "it runs $(running) and boots $(boot_default)"
fi
unroot
forget_unconfirmed
leave_as_activated
