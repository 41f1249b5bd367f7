# Let the installed llama-cli answer, and say what it is and what it used.
#
# $1 model   $2 prompt   $3 tokens   $4 seconds
set -u
cli=/run/current-system/sw/bin/llama-cli
echo "llama_cli=$(readlink -f "$cli")"
if ! [ -x "$cli" ]; then
  echo "exit_code=127"
  exit 0
fi
scratch=$(mktemp -d) || exit 73
trap 'rm -rf "$scratch"' EXIT
timeout -k 5 "$4" "$cli" -m "$1" -p "$2" -n "$3" --temp 0 --seed 1 -ngl 99 -st -v \
  </dev/null >"$scratch/out" 2>"$scratch/err"
code=$?
echo "exit_code=$code"
# The log of a small model is half a megabyte: only what proves something travels.
grep -aE 'load_backend|using device|offloaded|assigned to device|eval time' "$scratch/err" |
  tail -n 400 | sed 's/^/log=/'
[ "$code" = 0 ] || tail -n 15 "$scratch/err" | sed 's/^/last=/'
# Last, for nothing after it can be mistaken for a line of ours.
echo "answer="
head -c 65536 "$scratch/out"
