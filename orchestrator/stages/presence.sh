# Say which of the store paths on standard input are valid here and how large each
# is, and, where $1 is `substitutes`, which of the others a substituter has.
# Further arguments are options of nix-store.
#
# Prints `valid PATH` for each, `size BYTES` for each of those in the same order,
# and behind `dry-run ` what Nix says it would fetch.
set -u
mode=$1
shift
paths=$(cat)
[ "$paths" ] || exit 0
missing=$(nix-store --check-validity --print-invalid $paths) || exit
valid=
for path in $paths; do
  case " $(echo $missing) " in
    *" $path "*) ;;
    *) valid="$valid $path" ;;
  esac
done
if [ "$valid" ]; then
  printf 'valid %s\n' $valid
  nix-store --query --size $valid | sed 's/^/size /'
fi
# A dead substituter must not hold up the plan: what it has is then not known.
if [ "$mode" = substitutes ] && [ "$missing" ]; then
  timeout 10 nix-store --realise --dry-run "$@" $missing 2>&1 | sed 's/^/dry-run /'
fi
exit 0
