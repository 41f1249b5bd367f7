# Answer which of the store paths on standard input are valid here and how large each
# is: `valid=PATH` each, then `size=BYTES` each in the same order. Of the first ones that
# are not, also ask the substituters: `dry_run` is what Nix says it would fetch.
#
# $fetchable: how many of the paths are worth asking the substituters for
# $@: options of nix-store for that

set -u
paths=$(cat)
[ "$paths" ] || leave "$exit_done"
# What isn't there as a file isn't valid: most targets lack the one path that they are
# asked for, and needn't start Nix to say so.
missing=''
there=''
for path in $paths; do
  if [ -e "$path" ] || [ -L "$path" ]; then there="$there $path"; else missing="$missing $path"; fi
done
if [ "$there" ]; then
  missing="$missing $(nix-store --check-validity --print-invalid $there)" ||
    leave "$exit_nix_failed"
fi
missing=" $(echo $missing) "
valid=
fetch=
number=0
for path in $paths; do
  number=$((number + 1))
  case $missing in
    *" $path "*) [ "$number" -gt "$fetchable" ] || fetch="$fetch $path" ;;
    *) valid="$valid $path" ;;
  esac
done
if [ "$valid" ]; then
  printf 'orchestrate:valid=%s\n' $valid
  nix-store --query --size $valid | say_lines size
fi
# A dead substituter must not hold up the plan: what it has is then not known.
if [ "$fetch" ]; then
  timeout 10 nix-store --realise --dry-run "$@" $fetch 2>&1 | say_lines dry_run
fi
leave "$exit_done"
