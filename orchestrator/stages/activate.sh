# What the scripts that activate a system share. Each is sent after this text.

way_back=orchestrate-way-back
activation=orchestrate-activate.service
state=/run/orchestrate

# For $run, activate $1 by action $2 with $3 and wait for the end, $4 seconds at most,
# in a unit of its own: an activation that restarts sshd or the network must not be
# killed by it. Its output goes to a file, for a broken pipe would kill it too, and
# its exit code to another, for whoever comes back when the session was lost.
activate() {
  # shellcheck disable=SC2154 # the script behind this text sets it
  what="$run $1 $2" seconds=$4
  if [ "$3" = nixos-rebuild ]; then
    set -- nixos-rebuild "$2" --store-path "$1"
  else
    set -- "$1/bin/switch-to-configuration" "$2"
  fi
  mkdir -p "$state"
  rm -f "$state/activation.code"
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
    begin_activation "$@" || return
  fi
  activation_end "$seconds"
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
has_begun() { [ "$(cat "$state/activation.what" 2>/dev/null)" = "$run $1 $2" ]; }

# Wait $1 seconds for the end of the activation, and give its output and exit
# code: 75 where it goes on, 143 where it was stopped. To wait for its lock costs
# nothing meanwhile, and needs no answer of a systemd that is being replaced.
activation_end() {
  read -r up _ </proc/uptime
  limit=$((${up%.*} + $1)) left=$1
  while [ "$left" -gt 0 ]; do
    flock -s -E 75 -w "$left" 8 8>>"$state/activation.lock"
    [ "$?" != 75 ] || break
    # Free: it has ended, or its shell has yet to take it.
    if [ -s "$state/activation.code" ] || ! is_under_way; then
      ended=143
      read -r ended 2>/dev/null <"$state/activation.code"
      cat "$state/activation.log"
      return "$ended"
    fi
    sleep 0.1
    read -r up _ </proc/uptime
    left=$((limit - ${up%.*}))
  done
  cat "$state/activation.log"
  return 75
}

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

# readlink -f names even what is not there.
resolved() { [ -e "$1" ] && readlink -f "$1"; }
running() { resolved /run/current-system; }
boot_default() { resolved /nix/var/nix/profiles/system; }
unit_state() { systemctl show --property=ActiveState --value "$1" 2>/dev/null; }

# Stop the timer of the way back; fail if it has fired and is being taken.
disarm() {
  systemctl stop "$way_back.timer" 2>/dev/null
  ! is_taken
}

# A oneshot that runs is "activating", which is-active doesn't count.
is_taken() {
  case "$(unit_state "$way_back.service")" in
    active | activating | deactivating) return 0 ;;
    *) return 1 ;;
  esac
}
