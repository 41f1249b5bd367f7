# Build one derivation, detached, and follow it: start it, or attach to the one
# that runs. A connection that dies leaves the build running; asking again shows
# its log from the start and its end.
#
# $1 derivation   $2 its hash, the build's name   $3 expected output
set -u
if [ "$(id -u)" = 0 ]; then home=/var/lib/orchestrate; else home=$HOME/.local/state/orchestrate; fi
state=$home/builds/$2
mkdir -p "$state" || exit 73
cd "$state" || exit 73

if nix-store --check-validity "$3" 2>/dev/null; then
  # Held before it is reported: the garbage collector may run between.
  nix-store --realise --add-root "$state/result" "$1" >/dev/null 2>&1
  exit 75
fi

# The lock is held by whoever builds, so a free lock means that nobody does. To
# look takes a shared one: those who look don't see each other, and a build that
# begins waits for them instead of giving up.
running() { ! flock -n -s lock true; }

# Two systems that share a derivation wait for each other's lock, and Nix looks
# for it every build-poll-interval seconds: 5 by default.
body='touch started
nix-store --realise --option build-poll-interval 1 --add-root result "$0" >out 2>log
echo $? >rc.new
mv rc.new rc'
# One starts at a time, and the next one only looks when that build has its lock.
exec 9>start
flock 9
if ! running; then
  rm -f rc started
  : >log
  if [ "$(id -u)" = 0 ] && [ -d /run/systemd/system ] && command -v systemd-run >/dev/null; then
    systemd-run --quiet --collect --unit="orchestrate-build-$2" --setenv=PATH="$PATH" \
      --working-directory="$state" flock lock sh -c "$body" "$1" || exit 73
  else
    setsid flock lock sh -c "$body" "$1" </dev/null >/dev/null 2>&1 9>&- &
  fi
  tries=0
  while [ ! -e started ] && [ "$tries" -lt 250 ]; do
    tries=$((tries + 1))
    sleep 0.02
  done
fi
exec 9>&-

shown=0
missed=0
while :; do
  done=
  [ -e rc ] && done=1
  size=$(wc -c <log)
  if [ "$size" -gt "$shown" ]; then
    tail -c "+$((shown + 1))" log | head -c "$((size - shown))"
    shown=$size
  fi
  [ "$done" ] && exit "$(cat rc)"
  # Between the lock's end and the exit code that was seen there is a moment in
  # which nobody holds it: only five in a row mean a dead build.
  if running; then missed=0; else missed=$((missed + 1)); fi
  [ "$missed" -gt 5 ] && exit 74
  sleep 0.1
done
