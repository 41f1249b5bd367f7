# Make a system the boot default without activating it; undone where that fails.
#
# $1 new toplevel   $2 what is the boot default now, or empty   $3 run
# $4 nixos-rebuild or switch-to-configuration   $5 seconds
# $6 seconds to wait for the lock
set -u
run=$3
take_host "$6" "the boot default of run $run" || exit
if is_given_up; then
  # Whoever came before has failed, and sets it back.
  let_go
  activation_end "$5"
  echo "its run has set it back: it boots $(boot_default)" >&2
  exit 76
fi
[ -x "$1/bin/switch-to-configuration" ] || { echo "$1 is not a NixOS system" >&2; exit 72; }
boots=$(boot_default)
if [ "$boots" != "$1" ] && [ "$boots" != "$2" ]; then
  echo "it boots ${boots:-no system}, not ${2:-none}: somebody else changed it" >&2
  exit 71
fi
if has_begun "$1" boot; then
  # Its session was lost: it goes on, or has ended.
  let_go
  activation_end "$5"
elif [ "$4" = nixos-rebuild ] || nix-env --profile /nix/var/nix/profiles/system --set "$1"; then
  activate "$1" boot "$4" && let_go && activation_end "$5"
else
  exit 72
fi
code=$?
[ "$code" != 0 ] || [ "$(boot_default)" = "$1" ] || code=73
if [ "$code" != 0 ] && [ -n "$2" ]; then
  take_host "$6" "the boot default of run $run" || exit
  if ! is_given_up; then
    give_up
    stop_activation
    nix-env --profile /nix/var/nix/profiles/system --set "$2"
    activate "$2" boot switch-to-configuration
  fi
  let_go
  activation_end "$5"
fi
exit "$code"
