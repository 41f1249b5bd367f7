# Let the installed llama-cli answer, and say what it is and what it used.
#
# $model: a GGUF file on this host
# $prompt: what it is asked
# $tokens: how many it may answer
# $seconds: how long it may take

set -u
# The new system's own programs, as its owner will have them; ours are the old one's.
told=$(
  PATH=$system_path
  printf 'works\n' | timeout -k 5 20 grep works | sed '' | tail -n 1 | head -n 1
)
[ "$told" = works ] || leave "$exit_unusable"
cli=/run/current-system/sw/bin/llama-cli
say llama_cli "$(readlink -f "$cli")"
if ! [ -x "$cli" ]; then
  # A link into a store path that is gone from this disk.
  [ ! -L "$cli" ] || [ -e "$cli" ] || say damaged "$(readlink "$cli")"
  say exit_code 127
  leave "$exit_done"
fi
scratch=$(mktemp -d) || leave "$exit_unwritable"
trap 'rm -rf "$scratch"' EXIT
timeout -k 5 "$seconds" env PATH="$system_path" "$cli" \
  -m "$model" -p "$prompt" -n "$tokens" --temp 0 --seed 1 -ngl 99 -st -v \
  </dev/null >"$scratch/out" 2>"$scratch/err"
code=$?
# A full disk cuts off what it said.
printf '%8192s' '' >"$scratch/room" || leave "$exit_unwritable"
say exit_code "$code"
# The log of a small model is half a megabyte: only what proves something travels.
grep -aE 'load_backend|using device|offloaded|assigned to device|eval time' "$scratch/err" |
  tail -n 400 | say_lines log
[ "$code" = 0 ] || tail -n 15 "$scratch/err" | say_lines last
case $code in
  # One that took too long is no sign of it, and has left no time for this.
  0 | 124 | 137) ;;
  *)
    # Files that this disk has lost, cut off or changed speak against no package. The
    # closure of a GPU's libraries is gigabytes: the host waits for the answer.
    package=$(readlink -f "$cli")
    nix-store --query --requisites "${package%/bin/*}" | say_damaged timeout 20
    ;;
esac
head -c 65536 "$scratch/out" | head -n 4096 | say_lines answer
# The answer may have no end of line.
echo
leave "$exit_done"
