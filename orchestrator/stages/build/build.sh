# Build one derivation, detached, and follow it: start it, or attach to the one
# that runs. A connection that dies leaves the build running; asking again goes
# on with its log and shows its end.
#
# $derivation: what to build
# $hash: its hash, the build's name
# $output: what it must come to
# $shown: bytes of the log that the caller has seen
# $body: the text of what runs detached
# $@: options of nix-store
#
# Prints the log, and answers between its lines: `shown` bytes of the log so far,
# `alive` every two seconds, at the end `seconds`, START and END by the builder's own
# clock, and the `code` of nix-store; or `valid`, if there is nothing to build.

set -u
if [ "$(id -u)" = 0 ]; then home=/var/lib/orchestrate; else home=$HOME/.local/state/orchestrate; fi
state=$home/builds/$hash
mkdir -p "$state" || leave "$exit_unwritable"
cd "$state" || leave "$exit_unwritable"

# The lock is held by whoever builds, so a free lock means that nobody does. To
# look takes a shared one: those who look don't see each other, and a build that
# begins waits for them instead of giving up.
running() { ! flock -n -s lock true; }

# Held before it is reported: the garbage collector may run between. Nix takes the
# output itself only if it is valid, or can be fetched.
if [ -e "$output" ] && ! running &&
  nix-store --realise --add-root "$state/result" "$output" >/dev/null 2>&1; then
  say valid 1
  leave "$exit_done"
fi

# One starts at a time, and the next one only looks when that build has its lock.
exec 9>start
flock 9
if ! running; then
  rm -f rc started ended
  : >log
  shown=0
  # A file, for systemd would expand what looks like a variable in an argument.
  printf '%s\n' "$body" >body.sh
  if [ "$(id -u)" = 0 ] && [ -d /run/systemd/system ] && command -v systemd-run >/dev/null; then
    systemd-run --quiet --collect --unit="orchestrate-build-$hash" --setenv=PATH="$PATH" \
      --working-directory="$state" flock lock \
      sh "$state/body.sh" "derivation=$derivation" -- "$@" || leave "$exit_build_unstarted"
  else
    setsid flock lock sh "$state/body.sh" "derivation=$derivation" -- "$@" \
      </dev/null >/dev/null 2>&1 9>&- &
  fi
  tries=0
  while [ ! -e started ] && [ "$tries" -lt 250 ]; do
    tries=$((tries + 1))
    sleep 0.02
  done
fi
exec 9>&-

# An answer never joins a line of the log that has no end yet.
say_apart() {
  if [ "$shown" -gt 0 ] && [ -n "$(tail -c "+$shown" log | head -c 1)" ]; then echo; fi
  say "$1" "$2"
}

missed=0
rounds=0
while :; do
  done=
  [ -e rc ] && done=1
  size=$(wc -c <log)
  if [ "$size" -gt "$shown" ]; then
    tail -c "+$((shown + 1))" log | head -c "$((size - shown))" | guarded
    shown=$size
    say_apart shown "$shown"
  fi
  if [ "$done" ]; then
    say_apart seconds "$(cat started) $(cat ended)"
    say code "$(cat rc)"
    leave "$exit_done"
  fi
  # Between the lock's end and the exit code that was seen there is a moment in
  # which nobody holds it: only five in a row mean a dead build.
  if running; then missed=0; else missed=$((missed + 1)); fi
  if [ "$missed" -gt 5 ]; then
    say_apart died 1
    leave "$exit_build_died"
  fi
  rounds=$((rounds + 1))
  [ "$((rounds % 20))" -eq 0 ] && say_apart alive 1
  sleep 0.1
done
