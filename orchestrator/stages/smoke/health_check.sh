# Run the user's own check, and pass on what it says: both streams are one text, in the
# order in which it was said.
#
# $seconds: how long it may take
# $@: the check

set -u
run_framed timeout -k 5 "$seconds" env PATH="$system_path" "$@" </dev/null
say code "$code"
leave "$exit_done"
