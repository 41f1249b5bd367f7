# For each derivation on standard input, answer `derivation`, and after it as `binding`
# those of its bindings that may name system features, as they are in its file. For some,
# answer each `input` too: the outputs that they are built from.
#
# $@: the derivations whose inputs are asked for

set -u
# A store may be somewhere else than its paths say (`--store /mnt`): Nix finds it.
show() { cat "$1" 2>/dev/null || nix --extra-experimental-features nix-command store cat "$1"; }
while read -r drv; do
  say derivation "$drv"
  # A file is bytes: what isn't UTF-8 in it must not hide the rest.
  show "$drv" </dev/null |
    LC_ALL=C grep -oE '\("(requiredSystemFeatures|__json)","([^"\\]|\\.)*"\)' | say_lines binding
done
for drv do
  inputs=$(nix-store --query --references "$drv" | grep '\.drv$') || continue
  say derivation "$drv"
  # shellcheck disable=SC2086 # one path a word
  nix-store --query --outputs $inputs | say_lines input
done
leave "$exit_done"
