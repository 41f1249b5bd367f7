# Copy a flake to where a run can lock it anew, and answer where that is.
#
# $directory: the flake's
# $run: the run's id

set -eu
cd "$directory/.."
# Forks of runs that nobody went on with go after 90 days, when runs are forgotten too.
find . -maxdepth 1 -name 'upgrade-*' -mtime +90 -exec rm -rf {} +
rm -rf "upgrade-$run"
cp -R "$directory" "upgrade-$run"
cd "upgrade-$run"
say directory "$(pwd)"
leave "$exit_done"
