# Go back to the very system that ran, and prove it.
#
# $1 old toplevel   $2 new toplevel   $3 what was the boot default, or empty   $4 run
set -u
if ! disarm; then
  # The way back is being taken already: let it finish before ours begins.
  tries=0
  while is_taken && [ "$tries" -lt 300 ]; do
    tries=$((tries + 1))
    sleep 0.1
  done
fi
if [ "$(boot_default)" = "$2" ] && [ "$3" != "$2" ]; then
  # A confirmation that failed half way has made the new system the default.
  boots=${3:-$1}
  nix-env --profile /nix/var/nix/profiles/system --set "$boots" || exit 72
  activate "$boots" boot switch-to-configuration || exit 73
fi
activate "$1" test switch-to-configuration
code=$?
rm -f "/nix/var/nix/gcroots/orchestrate/$4"
echo "running=$(running)"
exit "$code"
