# Go back to the very system that ran, and prove it.
#
# $1 old toplevel   $2 new toplevel   $3 what the plan found to be the boot default,
# or empty   $4 run
# $5 seconds that its activation may take   $6 reboot or stay, where that fails
# $7 the id of the boot in which the plan was made   $8 seconds to wait for the lock
set -u
run=$4 before=$3 rebooted=no
take_host "$8" "the rollback of run $run" || exit
give_up
if grep -qs "^$run " "$state/before"; then
  # The switch has noted it, and since then there was no reboot.
  before=$(sed "s/^$run //" "$state/before")
elif [ "$(cat /proc/sys/kernel/random/boot_id)" != "$7" ]; then
  rebooted=yes
else
  # The switch has refused the host, or never reached it: what runs there now is
  # somebody else's.
  echo "running=$(running)"
  exit 77
fi
# A confirmation that failed half way has made the new system the default.
put_back_boot_default() {
  if [ "$(boot_default)" = "$2" ] && [ "$before" != "$2" ]; then
    boots=${before:-$1}
    nix-env --profile /nix/var/nix/profiles/system --set "$boots" || exit 72
    activate "$boots" boot switch-to-configuration && activation_end "$5" || exit 73
  fi
}
begin() {
  if ! disarm; then
    # The way back has fired, and waits for the lock: it goes first.
    let_go
    limit=$(($(date +%s) + $5 + 60))
    while is_taken && [ "$(date +%s)" -lt "$limit" ]; do
      sleep 0.1
    done
    take_host "$8" "the rollback of run $run" || exit
  fi
  stop_activation
  put_back_boot_default "$@"
  activate "$1" test switch-to-configuration && let_go && activation_end "$5"
}
if [ "$rebooted" = yes ] && [ "$(running)" = "$1" ]; then
  # Its last resort, or a power cut, has brought it back.
  put_back_boot_default "$@"
elif has_begun "$1" test; then
  # Its session was lost: it goes on, or has ended.
  let_go
  activation_end "$5"
else
  begin "$@"
fi
code=$?
[ "$code" != 75 ] || stop_activation
if [ "$rebooted" = no ] && { [ "$code" != 0 ] && [ "$code" != 4 ] || [ "$(running)" != "$1" ]; }; then
  last_resort "$6"
fi
rm -f "/nix/var/nix/gcroots/orchestrate/$run"
echo "running=$(running)"
echo "rebooted=$rebooted"
exit "$code"
