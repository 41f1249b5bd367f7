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

# The lock is held by whoever builds. A unit that was only just started doesn't
# hold it yet, on a busy builder for seconds.
unit=orchestrate-build-$2
running() {
  ! flock -n lock true || systemctl is-active --quiet "$unit.service" 2>/dev/null
}

# Two systems that share a derivation wait for each other's lock, and Nix looks
# for it every build-poll-interval seconds: 5 by default.
body='nix-store --realise --option build-poll-interval 1 --add-root result "$0" >out 2>log
echo $? >rc.new
mv rc.new rc'
# Two who want the same build don't both start it.
exec 9>start.lock
flock 9
if ! running; then
  rm -f rc
  : >log
  if [ "$(id -u)" = 0 ] && [ -d /run/systemd/system ] && command -v systemd-run >/dev/null; then
    # Whoever asks whether it runs holds the lock for a moment: it has to wait.
    systemd-run --quiet --collect --unit="$unit" --setenv=PATH="$PATH" \
      --working-directory="$state" flock lock sh -c "$body" "$1" || exit 73
  else
    # Locked by us and inherited: held from the first moment to the build's end.
    exec 8>lock
    flock 8
    setsid sh -c "$body" "$1" </dev/null >/dev/null 2>&1 9>&- &
    exec 8>&-
  fi
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
  # Between the exit code and the look for it there is a moment in which nobody
  # holds the lock: only five in a row mean a dead build.
  if running; then missed=0; else missed=$((missed + 1)); fi
  [ "$missed" -gt 5 ] && exit 74
  sleep 0.1
done
