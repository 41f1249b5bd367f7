# Print the closure of some paths with sizes and references, in one start of Nix: its own
# JSON, and its own end.
#
# $@: the paths

# Nix since 2.33 warns if no format is named, and says that it will refuse that;
# before, it has no such option. The answer is the same.
exec 3>&1
ask() { nix --extra-experimental-features nix-command path-info --json --recursive "$@"; }
said=$(ask "$@" 2>&1 >&3) && exit
code=$?
case $said in *--json-format*) ask --json-format 1 "$@"; exit ;; esac
printf '%s\n' "$said" >&2
exit "$code"
