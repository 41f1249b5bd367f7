# Answer which store paths of a closure this disk has lost, cut off or changed.
#
# $path: the store path whose closure it is

set -u
closure=$(nix-store --query --requisites "$path") || leave "$exit_nix_failed"
echo "$closure" | say_damaged command
leave "$exit_done"
