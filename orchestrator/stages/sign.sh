# Weigh store paths, and sign them with this machine's own key, which is made when
# it is first needed and never leaves it.
#
# $1 `sign`, or anything else to weigh alone
#
# Reads one path a line. Prints the bytes of all paths together, and the public key.
set -u
nix_() { nix --extra-experimental-features nix-command "$@"; }
paths=$(cat)
bytes=0
for size in $(printf '%s\n' "$paths" | xargs nix-store --query --size); do
  bytes=$((bytes + size))
done
echo "bytes=$bytes"
[ "$1" = sign ] || exit 0

if [ "$(id -u)" = 0 ]; then home=/var/lib/orchestrate; else home=$HOME/.local/state/orchestrate; fi
key=$home/signing-key
mkdir -p "$home" || exit 73
if ! [ -s "$key" ]; then
  umask 077
  nix_ key generate-secret --key-name "orchestrate-$(uname -n)-1" >"$key.$$" || exit
  # A link fails where somebody else was first: then theirs is the key.
  ln "$key.$$" "$key" 2>/dev/null
  rm -f "$key.$$"
fi
printf '%s\n' "$paths" | nix_ store sign --key-file "$key" --stdin >&2 || exit
# A secret key is NAME:BASE64, of 64 bytes, and ends in the public one (libsodium's
# crypto_sign): what `nix key convert-secret-to-public` prints, without a start of Nix.
IFS=: read -r name secret <"$key"
public=$(printf %s "$secret" | base64 -d | tail -c 32 | base64)
echo "key=$name:$public"
