# Copy paths to the target of a key that direct_key.sh has made. What is printed, and how
# it ends, are those of `nix copy`.
#
# $directory: the one that direct_key.sh has made
# $@: arguments of `nix`, which reads the paths

set -u
# Noted, so that it can be ended: it would outlive the connection that began it.
echo $$ >"$directory/pid"
exec 2>&1
NIX_SSHOPTS="-F $directory/config"
export NIX_SSHOPTS
exec nix "$@" --to ssh-ng://orchestrate-target --stdin
