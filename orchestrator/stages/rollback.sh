# Go back to the very system that ran, and prove it.
#
# $1 old toplevel   $2 run   $3 nixos-rebuild or switch-to-configuration
set -u
if ! disarm; then
  # The way back is being taken already: let it finish before ours begins.
  tries=0
  while systemctl is-active --quiet "$way_back.service" && [ "$tries" -lt 300 ]; do
    tries=$((tries + 1))
    sleep 0.1
  done
fi
action="test"
if [ "$(boot_default)" != "$1" ]; then
  # A confirmation that failed half way has made the new system the default.
  action=switch
  nix-env --profile /nix/var/nix/profiles/system --set "$1" || exit 72
fi
activate "$1" "$action" switch-to-configuration
code=$?
rm -f "/nix/var/nix/gcroots/orchestrate/$2"
echo "running=$(running)"
exit "$code"
