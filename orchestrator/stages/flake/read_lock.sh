# Answer a flake's lock file; nothing if there is none.
#
# $directory: the flake's

set -eu
if [ -e "$directory/flake.lock" ]; then
  say_lines lock <"$directory/flake.lock"
  echo
fi
leave "$exit_done"
