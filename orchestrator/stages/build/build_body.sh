# What a build is while it runs detached, in the directory that has its state.
#
# $derivation: what to build
# $@: options of nix-store

# A log may grow without end: what is beyond 64 MiB of it is dropped, but for its last
# part. Without stdbuf, head would keep lines to itself until it has some kilobytes.
bounded() {
  if command -v stdbuf >/dev/null; then
    stdbuf -o0 head -c 67108864 >log
    tail -c 65536 >>log
  else
    cat >log
  fi
}
echo $$ >pid
read -r up _ </proc/uptime
echo "$up" >started
# Two systems that share a derivation wait for each other's lock, and Nix looks
# for it every build-poll-interval seconds: 5 by default.
{
  nix-store --realise --option build-poll-interval 1 "$@" --add-root result "$derivation" >out
  echo $? >rc.new
} 2>&1 | bounded
read -r up _ </proc/uptime
echo "$up" >ended
mv rc.new rc
