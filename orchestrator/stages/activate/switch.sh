# Note what runs, arm the way back, activate the new system without making it
# the boot default (nixus's order).
#
# $1 new toplevel   $2 the toplevel that must run now, or empty   $3 run
# $4 seconds until the way back is taken   $5 nixos-rebuild or switch-to-configuration
# $6 the way back's script   $7 seconds that the old system's activation may take
# $8 reboot or stay, where that fails   $9 seconds to wait for the lock
set -u
new=$1 old=$2 run=$3
# The default accuracy of a timer is a minute (systemd.timer(5)).
arm() {
  systemd-run --quiet --collect --no-ask-password --unit="$way_back" --on-active="${4}s" \
    --timer-property=AccuracySec=100ms --service-type=oneshot --setenv=PATH="$PATH" \
    sh "$state/way-back.sh" "$2" "$7" "$8"
}
take_host "$9" "the switch of run $run" || exit
if is_given_up; then
  echo "its run has gone back: it runs $(running)" >&2
  exit 76
fi
if has_begun "$new" test; then
  # Whoever began it is gone. It goes on or has ended, and isn't done again, not
  # even where the host has left it by the way back.
  let_go
  rejoin "$new" "$4"
  exit
fi
now=$(running)
if [ "$now" != "$new" ] && [ "$now" != "$old" ]; then
  echo "it runs ${now:-no system}, not ${old:-none}: somebody else changed it" >&2
  exit 71
fi
[ -x "$new/bin/switch-to-configuration" ] || { echo "$new is not a NixOS system" >&2; exit 72; }
roots=/nix/var/nix/gcroots/orchestrate
[ -d "$roots" ] || mkdir -p "$roots"
ln -sfn "$new" "$roots/$run"

# What the next boot gives may be another system than when the plan was made.
noted=
[ ! -e "$state/before" ] || read -r noted _ <"$state/before"
[ "$noted" = "$run" ] || echo "$run $(boot_default)" >"$state/before"

if [ -n "$old" ]; then
  printf '%s\n' "$6" >"$state/way-back.sh"
  if ! arm "$@" 2>/dev/null; then
    # One is armed already, by a run that went before.
    disarm
    systemctl reset-failed "$way_back.service" "$way_back.timer" 2>/dev/null
    arm "$@" || exit 73
  fi
fi
# A second less than the way back is armed for: which of the two comes first would be
# chance, and that it did not end is to be told.
activate "$new" test "$5" && let_go && activation_end "$(($4 > 1 ? $4 - 1 : 1))"
