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

# The lock is held by whoever builds, so a lock that can be shared means that
# nobody does. Looking is sharing: two that look at once don't take each other
# for a builder, and one that begins waits for those that look.
running() { ! flock --nonblock --shared lock true; }

# Two systems that share a derivation wait for each other's lock, and Nix looks
# for it every build-poll-interval seconds: 5 by default.
body='[ -e rc ] && exit
nix-store --realise --option build-poll-interval 1 --add-root result "$0" >out 2>log
echo $? >rc.new
mv rc.new rc'

# One at a time decides whether to begin, until the build holds its lock.
exec 9>start.lock
flock 9
if ! running; then
  rm -f rc
  : >log
  if [ "$(id -u)" = 0 ] && [ -d /run/systemd/system ] && command -v systemd-run >/dev/null; then
    systemd-run --quiet --collect --unit="orchestrate-build-$2" --setenv=PATH="$PATH" \
      --working-directory="$state" flock --timeout 10 lock sh -c "$body" "$1" 9>&- || exit 73
  else
    setsid flock --timeout 10 lock sh -c "$body" "$1" </dev/null >/dev/null 2>&1 9>&- &
  fi
  waited=0
  while ! running && [ ! -e rc ] && [ "$waited" -lt 200 ]; do
    waited=$((waited + 1))
    sleep 0.05
  done
fi
flock --unlock 9

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
  # Between the exit code and the lock's end there is a moment with neither: only
  # five in a row mean a dead build.
  if running; then missed=0; else missed=$((missed + 1)); fi
  [ "$missed" -gt 5 ] && exit 74
  sleep 0.1
done
