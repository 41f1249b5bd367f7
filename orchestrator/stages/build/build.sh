# Build one derivation, detached, and follow it: start it, or attach to the one
# that runs. A connection that dies leaves the build running; asking again goes
# on with its log and shows its end.
#
# $1 derivation   $2 its hash, the build's name   $3 expected output
# $4 bytes of the log that the caller has seen   further: options of nix-store
#
# Prints the log, and between its lines some of ours that begin with `orchestrate:`:
# `shown=BYTES` of the log so far, `alive` every two seconds, and at the end
# `seconds=START END` by the builder's own clock.
set -u
drv=$1 name=$2 out=$3 shown=$4
shift 4
if [ "$(id -u)" = 0 ]; then home=/var/lib/orchestrate; else home=$HOME/.local/state/orchestrate; fi
state=$home/builds/$name
mkdir -p "$state" || exit 73
cd "$state" || exit 73

# The lock is held by whoever builds, so a free lock means that nobody does. To
# look takes a shared one: those who look don't see each other, and a build that
# begins waits for them instead of giving up.
running() { ! flock -n -s lock true; }

# Held before it is reported: the garbage collector may run between. Nix takes the
# output itself only where it is valid, or can be fetched.
if [ -e "$out" ] && ! running &&
  nix-store --realise --add-root "$state/result" "$out" >/dev/null 2>&1; then
  exit 75
fi

# Two systems that share a derivation wait for each other's lock, and Nix looks
# for it every build-poll-interval seconds: 5 by default. A log may grow without
# end: what is beyond 64 MiB of it is dropped, but for its last part. Without
# stdbuf, head would keep lines to itself until it has some kilobytes of them.
body='drv=$0
bounded() {
  if command -v stdbuf >/dev/null; then
    stdbuf -o0 head -c 67108864 >log
    tail -c 65536 >>log
  else
    cat >log
  fi
}
echo $$ >pid
read up _ </proc/uptime
echo "$up" >started
{
  nix-store --realise --option build-poll-interval 1 "$@" --add-root result "$drv" >out
  echo $? >rc.new
} 2>&1 | bounded
read up _ </proc/uptime
echo "$up" >ended
mv rc.new rc'
# One starts at a time, and the next one only looks when that build has its lock.
exec 9>start
flock 9
if ! running; then
  rm -f rc started ended
  : >log
  shown=0
  if [ "$(id -u)" = 0 ] && [ -d /run/systemd/system ] && command -v systemd-run >/dev/null; then
    systemd-run --quiet --collect --unit="orchestrate-build-$name" --setenv=PATH="$PATH" \
      --working-directory="$state" flock lock sh -c "$body" "$drv" "$@" || exit 73
  else
    setsid flock lock sh -c "$body" "$drv" "$@" </dev/null >/dev/null 2>&1 9>&- &
  fi
  tries=0
  while [ ! -e started ] && [ "$tries" -lt 250 ]; do
    tries=$((tries + 1))
    sleep 0.02
  done
fi
exec 9>&-

# A line of ours never joins one of the log that has no end yet.
mark() {
  if [ "$shown" -gt 0 ] && [ -n "$(tail -c "+$shown" log | head -c 1)" ]; then echo; fi
  echo "orchestrate:$1"
}

missed=0
rounds=0
while :; do
  done=
  [ -e rc ] && done=1
  size=$(wc -c <log)
  if [ "$size" -gt "$shown" ]; then
    tail -c "+$((shown + 1))" log | head -c "$((size - shown))"
    shown=$size
    mark "shown=$shown"
  fi
  if [ "$done" ]; then
    mark "seconds=$(cat started) $(cat ended)"
    exit "$(cat rc)"
  fi
  # Between the lock's end and the exit code that was seen there is a moment in
  # which nobody holds it: only five in a row mean a dead build.
  if running; then missed=0; else missed=$((missed + 1)); fi
  [ "$missed" -gt 5 ] && exit 74
  rounds=$((rounds + 1))
  [ "$((rounds % 20))" -eq 0 ] && mark alive
  sleep 0.1
done
