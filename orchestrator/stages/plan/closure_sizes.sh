# Answer how many bytes the closure of each system takes, a line each, in their order.
#
# $@: the systems

total() {
  sum=0
  for bytes in $(nix-store --query --requisites "$1" | xargs nix-store --query --size); do
    sum=$((sum + bytes))
  done
  say size "$sum"
}
for path; do total "$path"; done
leave "$exit_done"
