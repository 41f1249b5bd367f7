# Go back to the very system that ran, and prove it.
#
# $1 old toplevel   $2 new toplevel   $3 what was the boot default, or empty   $4 run
# $5 seconds that its activation may take   $6 reboot or stay, where that fails
# $7 the id of the boot in which all of this began
set -u
run=$4
begin() {
  if ! disarm; then
    # The way back is being taken already: let it finish before ours begins.
    limit=$(($(date +%s) + $5 + 60))
    while is_taken && [ "$(date +%s)" -lt "$limit" ]; do
      sleep 0.1
    done
  fi
  stop_activation
  if [ "$(boot_default)" = "$2" ] && [ "$3" != "$2" ]; then
    # A confirmation that failed half way has made the new system the default.
    boots=${3:-$1}
    nix-env --profile /nix/var/nix/profiles/system --set "$boots" || exit 72
    activate "$boots" boot switch-to-configuration "$5" || exit 73
  fi
  activate "$1" test switch-to-configuration "$5"
}
rebooted=no
[ "$(cat /proc/sys/kernel/random/boot_id)" = "$7" ] || rebooted=yes
if [ "$rebooted" = yes ] && [ "$(running)" = "$1" ]; then
  # Its last resort, or a power cut, has brought it back.
  true
elif has_begun "$1" test; then
  # Its session was lost: it goes on, or has ended.
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
