# Remove a run's fork of a flake.
#
# $directory: the flake's
# $run: the run's id

rm -rf "$directory/../upgrade-$run" || leave "$exit_unwritable"
leave "$exit_done"
