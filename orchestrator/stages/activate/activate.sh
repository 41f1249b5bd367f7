# What the scripts that activate a system share. Each is sent after this text. They
# start no program for what the shell can do itself: that is most of what they cost.

way_back=orchestrate-way-back
activation=orchestrate-activate.service
state=/run/orchestrate
lock=$state/lock
held=no

# One script at a time changes the host: one that was orphaned, its session gone, may
# still be at work when the next one comes. Wait $1 seconds for the lock, for $2; 78
# where it isn't let go. The kernel takes it from the dead. Whoever waits has the file
# as 8 and who holds it as 9, by which the way back finds the holder.
take_host() {
  [ "$held" = no ] || return 0
  # Root's alone: whoever can open a file can hold its lock.
  [ -e "$lock" ] || { mkdir -p "$state" && (umask 077 && : >>"$lock"); } || return
  exec 8<>"$lock"
  flock -E 78 -w "$1" 8
  answer=$?
  if [ "$answer" != 0 ]; then
    exec 8>&-
    [ "$answer" != 78 ] ||
      echo "$(cat "$lock") (process$(holders)) did not let go of the host in $1 seconds" >&2
    return "$answer"
  fi
  exec 9>&8 8>&-
  held=yes
  echo "$2" >"$lock"
}

# Who holds the lock: a script, and what it waits for.
holders() {
  for file in /proc/[0-9]*/fd/9; do
    if [ "$(readlink "$file")" = "$lock" ]; then
      pid=${file#/proc/}
      printf ' %s' "${pid%%/*}"
    fi
  done
}

# Unlock, and not only close: a child may have it open.
let_go() {
  [ "$held" = yes ] || return 0
  flock -u 9
  exec 9>&-
  held=no
}

# What comes late of a run that goes back must not bring the new system again.
# shellcheck disable=SC2154 # the script behind this text sets it
give_up() { echo "$run" >"$state/given-up"; }
is_given_up() { says "$state/given-up" "$run"; }

# Whether $1 is a file with the line $2.
says() {
  line=
  [ ! -e "$1" ] || IFS= read -r line <"$1"
  [ "$line" = "$2" ]
}

# For $run, begin to activate $1 by action $2 with $3, in a unit of its own: an
# activation that restarts sshd or the network must not be killed by it. Its output
# goes to a file, for a broken pipe would kill it too, and its exit code to another,
# for whoever comes back when the session was lost.
#
# The lock is for the beginning: what hangs must let itself be stopped.
activate() {
  # shellcheck disable=SC2154 # the script behind this text sets it
  what="$run $1 $2"
  if [ "$3" = nixos-rebuild ]; then
    set -- nixos-rebuild "$2" --store-path "$1"
  else
    set -- "$1/bin/switch-to-configuration" "$2"
  fi
  : >"$state/activation.code"
  : >"$state/activation.log"
  echo "$what" >"$state/activation.what"
  # A file, for systemd would expand what looks like a variable in an argument. Its
  # shell has the lock until the end; what the activation leaves behind hasn't.
  printf '%s\n' "exec 8>$state/activation.lock" 'flock 8' '"$@" 8>&-' \
    "echo \$? >$state/activation.code" >"$state/activation.sh"
  if ! begin_activation "$@" 2>/dev/null; then
    # One whose end was just seen may not be gone yet.
    tries=0
    while is_under_way && [ "$tries" -lt 50 ]; do
      tries=$((tries + 1))
      sleep 0.1
    done
    systemctl reset-failed "$activation" 2>/dev/null
    begin_activation "$@"
  fi
}

begin_activation() {
  systemd-run --quiet --collect --no-ask-password --service-type=exec --unit="$activation" \
    --setenv=PATH="$PATH" --setenv=LOCALE_ARCHIVE="${LOCALE_ARCHIVE-}" \
    --property=StandardOutput="append:$state/activation.log" \
    --property=StandardError="append:$state/activation.log" \
    --property=TimeoutStopSec=10 \
    sh "$state/activation.sh" "$@"
}

# Whether $run has begun to activate $1 by action $2, and nothing else since.
has_begun() { says "$state/activation.what" "$run $1 $2"; }

# Wait $1 seconds for the end of the activation, and give its output and exit
# code: 75 where it goes on, 143 where it was stopped. To wait for its lock costs
# nothing meanwhile, and needs no answer of a systemd that is being replaced.
activation_end() {
  read -r up _ </proc/uptime
  limit=$((${up%.*} + $1)) left=$1 pause=0.02 tries=0
  while [ "$left" -gt 0 ]; do
    flock -s -E 75 -w "$left" 8 8>>"$state/activation.lock"
    [ "$?" != 75 ] || break
    # Free: it has ended, or its shell has yet to take it, in a moment. Where it takes
    # longer it may have been stopped.
    [ "$tries" -lt 10 ] || pause=0.1
    if [ -s "$state/activation.code" ] || { [ "$pause" = 0.1 ] && ! is_under_way; }; then
      ended=
      [ ! -e "$state/activation.code" ] || read -r ended <"$state/activation.code"
      activation_output
      return "${ended:-143}"
    fi
    tries=$((tries + 1))
    sleep "$pause"
    read -r up _ </proc/uptime
    left=$((limit - ${up%.*}))
  done
  activation_output
  return 75
}
activation_output() { [ ! -s "$state/activation.log" ] || cat "$state/activation.log"; }

# Wait $2 seconds for the end of what $run has begun: the activation of $1 by test.
# 76 where the host has left $1 again by itself.
rejoin() {
  activation_end "$2"
  code=$?
  left=no
  case "$code" in
    # One that was stopped ends without a code, as if terminated.
    143) left=yes ;;
    0 | 4) [ "$(running)" = "$1" ] || left=yes ;;
  esac
  if [ "$left" = yes ] || is_taken; then
    echo "the way back was taken: it runs $(running)" >&2
    return 76
  fi
  return "$code"
}

# systemd doesn't answer while an activation replaces it.
is_under_way() {
  case "$(unit_state "$activation")" in
    inactive | failed) return 1 ;;
    "") ! [ -s "$state/activation.code" ] ;;
  esac
}

# Stop an activation that is under way, and nixos-rebuild's own unit for it; with
# all its processes dead its lock is free.
stop_activation() {
  for unit in "$activation" nixos-rebuild-switch-to-configuration.service; do
    timeout 20 systemctl stop "$unit" 2>/dev/null ||
      systemctl kill --signal=KILL "$unit" 2>/dev/null
  done
}

# The last resort where the old system's activation fails, if $1 says reboot: what
# failed has not touched the boot default. An orderly shutdown could wait for the
# very unit that hangs; this one still asks every process to end.
last_resort() {
  [ "$1" = reboot ] || return
  echo "the old system can't be activated: rebooting into the boot default" >&2
  systemctl reboot --force && sleep 60
}

# Only for `$(…)`, whose subshell goes there: a system is a directory.
resolved() { cd -P "$1" 2>/dev/null && pwd -P; }
running() { resolved /run/current-system; }
boot_default() { resolved /nix/var/nix/profiles/system; }
# What is-active prints is the state, and costs systemd less to say than `show`.
unit_state() { systemctl is-active "$1" 2>/dev/null; }

# Stop the timer of the way back; fail if it has fired and is being taken.
disarm() {
  systemctl stop "$way_back.timer" 2>/dev/null
  ! is_taken
}

# A oneshot that runs is "activating", which the exit code of is-active doesn't count.
is_taken() {
  case "$(unit_state "$way_back.service")" in
    active | activating | deactivating) return 0 ;;
    *) return 1 ;;
  esac
}
