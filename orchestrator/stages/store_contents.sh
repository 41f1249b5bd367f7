# Say which of the store paths on standard input are valid here and how large each
# is. Of the first $1 of them that are not, also ask the substituters; $2 and the
# following are options of nix-store for that.
#
# Prints `valid PATH` for each, `size BYTES` for each of those in the same order,
# and behind `dry-run ` what Nix says it would fetch.
set -u
fetchable=$1
shift
paths=$(cat)
[ "$paths" ] || exit 0
# What isn't there as a file isn't valid: most targets lack the one path that they are
# asked for, and needn't start Nix to say so.
missing=''
there=''
for path in $paths; do
  if [ -e "$path" ] || [ -L "$path" ]; then there="$there $path"; else missing="$missing $path"; fi
done
if [ "$there" ]; then
  missing="$missing $(nix-store --check-validity --print-invalid $there)" || exit
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
  printf 'valid %s\n' $valid
  nix-store --query --size $valid | sed 's/^/size /'
fi
# A dead substituter must not hold up the plan: what it has is then not known.
if [ "$fetch" ]; then
  timeout 10 nix-store --realise --dry-run "$@" $fetch 2>&1 | sed 's/^/dry-run /'
fi
exit 0
