# For each derivation on standard input, print `derivation PATH`, and below it its
# bindings that may name system features, as they are in its file. For those named
# as arguments, print `input PATH` too: the outputs that they are built from.
set -u
# A store may be somewhere else than its paths say (`--store /mnt`): Nix finds it.
show() { cat "$1" 2>/dev/null || nix --extra-experimental-features nix-command store cat "$1"; }
while read -r drv; do
  echo "derivation $drv"
  show "$drv" </dev/null |
    LC_ALL=C grep -oE '\("(requiredSystemFeatures|__json)","([^"\\]|\\.)*"\)'
done
for drv do
  inputs=$(nix-store --query --references "$drv" | grep '\.drv$') || continue
  echo "derivation $drv"
  nix-store --query --outputs $inputs | sed 's/^/input /'
done
exit 0
