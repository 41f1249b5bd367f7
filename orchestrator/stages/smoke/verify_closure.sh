# Answer which store paths of a closure this disk has lost, cut off or changed:
# `damaged=PATH` each.
#
# $path: the store path whose closure it is

set -u
closure=$(nix-store --query --requisites "$path") || leave "$exit_nix_failed"
there=
for one in $closure; do
  # At one that is gone, nix-store --verify-path stops.
  if [ -e "$one" ] || [ -L "$one" ]; then there="$there $one"; else say damaged "$one"; fi
done
[ -z "$there" ] || nix-store --verify-path $there 2>&1 |
  sed -n "s/^path '\(.*\)' was modified.*/\1/p" | say_lines damaged
leave "$exit_done"
