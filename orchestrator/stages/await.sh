# Wait for the end of an activation whose session was lost.
#
# $1 new toplevel   $2 run   $3 seconds
set -u
run=$2 code=143
if has_begun "$1" test; then
  activation_end "$3"
  code=$?
fi
# One that was stopped ends without a code, as if terminated.
if [ "$code" = 143 ] || { [ "$code" = 0 ] && [ "$(running)" != "$1" ]; } || is_taken; then
  echo "the way back was taken: it runs $(running)" >&2
  exit 71
fi
exit "$code"
