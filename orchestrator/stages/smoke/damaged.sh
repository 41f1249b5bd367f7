# What the scripts share that look for damage in a store. It is sent before them.

# Answer which of the store paths on standard input this disk has lost, cut off or changed:
# `damaged=PATH` each. $@ runs the program that reads them: `command`, or `timeout 20`.
say_damaged() {
  # At one that is gone, nix-store --verify-path stops.
  there=
  while read -r path; do
    if [ -e "$path" ] || [ -L "$path" ]; then there="$there $path"; else say damaged "$path"; fi
  done
  [ -z "$there" ] || "$@" nix-store --verify-path $there 2>&1 |
    sed -n "s/^path '\(.*\)' was modified.*/\1/p" | say_lines damaged
}
