# Store the model on standard input. It gets its name once its hash is right, so that a
# transfer that broke is never taken for it.
#
# $path: where it belongs
# $sha256: what it must hash to

set -eu
umask 022
mkdir -p "${path%/*}"
part=$path.$$
trap 'rm -f "$part"' EXIT
cat >"$part"
echo "$sha256  $part" | sha256sum -c --status || leave "$exit_damaged"
mv "$part" "$path"
leave "$exit_done"
