# Answer as `system` which system a derivation is for, read from its file: of one with
# structured attributes, as every NixOS system is, `nix-store --query --binding` knows
# nothing.
#
# $derivation: its path

set -u
# A store may be somewhere else than its paths say (`--store /mnt`): Nix finds it.
show() { cat "$1" 2>/dev/null || nix --extra-experimental-features nix-command store cat "$1"; }
# Behind outputs, inputs and sources, which are lists, stand platform and builder as texts
# (Nix's src/libstore/derivations.cc, Derivation::unparse).
platform=$(show "$derivation" | LC_ALL=C grep -oE '\],"[^"\\]+","' | head -n 1)
platform=${platform#'],"'}
[ -n "$platform" ] || leave "$exit_unreadable" "$derivation"
say system "${platform%%'"'*}"
leave "$exit_done"
