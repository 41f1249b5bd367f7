# Answer the hash of a flake's directory and which Nix hashed it, then its lock file.
#
# $directory: the flake's

set -eu
digest=$(nix-hash --type sha256 "$directory")
say digest "$digest $(readlink -f "$(command -v nix-hash)")"
say_lines lock <"$directory/flake.lock"
echo
leave "$exit_done"
