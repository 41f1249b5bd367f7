# Sign the store paths on standard input, one a line, with this machine's own key, which
# is made when it is first needed and never leaves it. Answer the public key.

set -u
nix_() { nix --extra-experimental-features nix-command "$@"; }
if [ "$(id -u)" = 0 ]; then home=/var/lib/orchestrate; else home=$HOME/.local/state/orchestrate; fi
key=$home/signing-key
if ! [ -s "$key" ]; then
  mkdir -p "$home" || leave "$exit_unwritable"
  umask 077
  nix_ key generate-secret --key-name "orchestrate-$(uname -n)-1" >"$key.$$" ||
    leave "$exit_nix_failed"
  # A link fails if somebody else was first: then theirs is the key.
  ln "$key.$$" "$key" 2>/dev/null
  rm -f "$key.$$"
fi
nix_ store sign --key-file "$key" --stdin >&2 || leave "$exit_nix_failed"
# A secret key is NAME:BASE64, of 64 bytes, and ends in the public one (libsodium's
# crypto_sign): what `nix key convert-secret-to-public` prints, without a start of Nix.
IFS=: read -r name secret <"$key"
public=$(printf %s "$secret" | base64 -d | tail -c 32 | base64)
say key "$name:$public"
leave "$exit_done"
