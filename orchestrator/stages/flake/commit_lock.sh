# Make the lock of a run's fork that of the flake, and remove the fork.
#
# $directory: the flake's
# $run: the run's id

set -eu
fork=$directory/../upgrade-$run
# One rename, within a file system: the lock is the old one or the new one.
if [ -e "$fork/flake.lock" ]; then
  mv -f "$fork/flake.lock" "$directory/flake.lock"
fi
rm -rf "$fork"
leave "$exit_done"
