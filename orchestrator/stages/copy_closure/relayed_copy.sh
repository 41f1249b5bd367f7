# Copy paths to the store that is served behind a socket. What is printed, and how it
# ends, are those of `nix copy`.
#
# $socket: its path, which sshd leaves behind
# $@: arguments of `nix`, which reads the paths

trap 'rm -f "$socket"' EXIT
nix "$@" --to "unix://$socket" --stdin 2>&1
