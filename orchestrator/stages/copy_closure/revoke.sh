# Take a key out of authorized_keys again.
#
# $key: the public key

set -eu
umask 077
file=$(readlink -f "$HOME/.ssh/authorized_keys")
# Written beside it and renamed: a power cut in between must lock nobody out.
cp -p "$file" "$file.orchestrate"
if grep -vF "$key" "$file" >"$file.orchestrate"; then
  mv "$file.orchestrate" "$file"
else
  # There was nobody else: the file was made for this key.
  rm "$file.orchestrate" "$file"
fi
leave "$exit_done"
