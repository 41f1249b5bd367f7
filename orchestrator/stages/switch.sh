# Note what runs, arm the way back, activate the new system without making it
# the boot default (nixus's order).
#
# $1 new toplevel   $2 the toplevel that must run now, or empty   $3 run
# $4 seconds until the way back is taken   $5 nixos-rebuild or switch-to-configuration
set -u
new=$1 old=$2
now=$(running)
if [ "$now" != "$new" ] && [ "$now" != "$old" ]; then
  echo "it runs ${now:-no system}, not ${old:-none}: somebody else changed it" >&2
  exit 71
fi
[ -x "$new/bin/switch-to-configuration" ] || { echo "$new is not a NixOS system" >&2; exit 72; }
mkdir -p /nix/var/nix/gcroots/orchestrate
ln -sfn "$new" "/nix/var/nix/gcroots/orchestrate/$3"

if [ -n "$old" ]; then
  disarm
  systemctl reset-failed "$way_back.service" "$way_back.timer" 2>/dev/null
  # The default accuracy of a timer is a minute (systemd.timer(5)).
  systemd-run --quiet --collect --unit="$way_back" --on-active="${4}s" \
    --timer-property=AccuracySec=100ms --service-type=oneshot --setenv=PATH="$PATH" \
    "$old/bin/switch-to-configuration" test || exit 73
fi
activate "$new" test "$5"
