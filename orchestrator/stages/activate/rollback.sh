# Go back to the very system that ran, and prove it.
#
# $old: the system to go back to
# $new: the one to leave
# $default: what the plan found to be the boot default, or empty
# $run: the run's id
# $seconds: how long the old system's activation may take
# $last_resort: reboot or stay, if that fails
# $boot_id: the boot in which the plan was made
# $patience: seconds to wait for the lock

set -u
# The new system's tools may not run on this machine.
PATH=$old/sw/bin:$PATH
rebooted=no no_check=yes
take_host_or_leave "$patience" "the rollback of run $run"
give_up
if grep -qs "^$run " "$state/before"; then
  # The switch has noted it, and since then there was no reboot.
  default=$(sed "s/^$run //" "$state/before")
elif [ "$(cat /proc/sys/kernel/random/boot_id)" != "$boot_id" ]; then
  rebooted=yes
else
  # The switch has refused the host, or never reached it: what runs there now is
  # somebody else's.
  say running "$(running)"
  leave "$exit_not_begun"
fi
# A confirmation that failed half way has made the new system the default.
put_back_boot_default() {
  ended=0
  if [ "$(boot_default)" = "$new" ] && [ "$default" != "$new" ]; then
    boots=${default:-$old}
    set_profile "$boots" "$(generation_of "$boots")" || leave "$exit_profile_unset"
    activate "$boots" boot "" || leave "$exit_boot_loader_failed"
    activation_end "$seconds"
    [ "$ended" = 0 ] || leave "$exit_boot_loader_failed"
  fi
}
begin() {
  if ! disarm; then
    # The automatic rollback has fired, and waits for the lock: it goes first.
    let_go
    limit=$(($(date +%s) + seconds + 60))
    while is_taken && [ "$(date +%s)" -lt "$limit" ]; do
      sleep 0.1
    done
    take_host_or_leave "$patience" "the rollback of run $run"
  fi
  stop_activation
  put_back_boot_default
  activate_and_wait "$old" test "" "$seconds"
}
if [ "$rebooted" = yes ] && [ "$(running)" = "$old" ]; then
  # Its last resort, or a power cut, has brought it back.
  put_back_boot_default
elif has_begun "$old" test; then
  # Its session was lost: it goes on, or has ended.
  let_go
  activation_end "$seconds"
else
  begin
fi
[ "$ended" != goes-on ] || stop_activation
if [ "$rebooted" = no ] && { ! has_ended_well || [ "$(running)" != "$old" ]; }; then
  last_resort "$last_resort"
fi
unroot
[ "$(running)" != "$old" ] || forget_unconfirmed
say running "$(running)"
say rebooted "$rebooted"
leave_as_activated
