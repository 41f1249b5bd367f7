# Make the running system stay: disarm the way back, then profile and boot loader.
#
# $1 new toplevel   $2 run   $3 nixos-rebuild or switch-to-configuration   $4 seconds
# $5 seconds to wait for the lock
set -u
run=$2
take_host "$5" "the confirmation of run $run" || exit
# By its own hand, nixos-rebuild commits by `switch`. Without it, `boot` does the rest
# of what `switch` is: the system was activated by `test`, and runs.
if [ "$3" = nixos-rebuild ]; then action=switch; else action=boot; fi
if has_begun "$1" "$action"; then
  # Its session was lost: it goes on, or has ended.
  let_go
  activation_end "$4"
else
  if is_given_up || ! disarm || [ "$(running)" != "$1" ]; then
    echo "the way back was taken: it runs $(running)" >&2
    exit 71
  fi
  if [ "$3" != nixos-rebuild ]; then
    nix-env --profile /nix/var/nix/profiles/system --set "$1" || exit 72
  fi
  activate "$1" "$action" "$3" && let_go && activation_end "$4"
fi
code=$?
# 4: it runs, with failed units; whether that will do isn't for a script to say.
[ "$code" = 0 ] || [ "$code" = 4 ] || exit "$code"
[ "$(running)" = "$1" ] && [ "$(boot_default)" = "$1" ] || exit 73
rm -f "/nix/var/nix/gcroots/orchestrate/$run"
exit "$code"
