# Unpack the archive on standard input into a directory of the cache, and answer where
# that is.
#
# $name: the directory's
# $what: `replace` removes what is there, `keep` doesn't

set -eu
mkdir -p "$HOME/.cache/orchestrate/$name"
cd "$HOME/.cache/orchestrate/$name"
if [ "$what" = replace ]; then find . -mindepth 1 -delete; fi
tar -xf -
say directory "$(pwd)"
leave "$exit_done"
