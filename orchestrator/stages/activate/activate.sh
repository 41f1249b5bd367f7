# What the scripts that activate a system share. Each is sent after this text. They
# start no program for what the shell can do itself: that is most of what they cost.

rollback_unit=orchestrate-rollback
activation_unit=orchestrate-activate.service
rebuild_unit=nixos-rebuild-switch-to-configuration.service
no_check=
# What the plan found may be gone: then is done directly what it does.
[ -x "${nixos_rebuild-}/bin/nixos-rebuild" ] || nixos_rebuild=
state=/run/orchestrate
lock=$state/lock
held=no

# One script at a time changes the host: one that was orphaned, its session gone, may
# still be at work when the next one comes. Wait $1 seconds for the lock, for $2;
# $exit_held if it isn't let go, and `why` names the holder. The kernel takes it from the
# dead. Whoever waits has the file as 8 and who holds it as 9, by which the automatic
# rollback finds the holder.
take_host() {
  [ "$held" = no ] || return 0
  why="$lock can't be locked"
  # Root's alone: whoever can open a file can hold its lock.
  [ -e "$lock" ] || { mkdir -p "$state" && (umask 077 && : >>"$lock"); } ||
    return "$exit_unwritable"
  exec 8<>"$lock"
  flock -E "$exit_held" -w "$1" 8
  code=$?
  if [ "$code" != 0 ]; then
    exec 8>&-
    [ "$code" = "$exit_held" ] || return "$exit_unwritable"
    why="$(cat "$lock") (process$(holders)) did not let go of the host in $1 seconds"
    return "$exit_held"
  fi
  exec 9>&8 8>&-
  held=yes
  echo "$2" >"$lock"
}

take_host_or_leave() { take_host "$1" "$2" || leave "$?" "$why"; }

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

# A system that runs and that no run has confirmed is noted, with the one to which its
# automatic rollback leads: no later run may go back to what has failed.
unconfirmed=$state/unconfirmed
# shellcheck disable=SC2154 # the script behind this text is given them
note_unconfirmed() { [ -z "$old" ] || echo "$new $old" >"$unconfirmed"; }
forget_unconfirmed() { rm -f "$unconfirmed"; }

# What comes late of a run that goes back must not bring the new system again.
# shellcheck disable=SC2154 # the script behind this text is given it
give_up() { echo "$run" >"$state/given-up"; }
is_given_up() { says "$state/given-up" "$run"; }

# Whether $1 is a file with the line $2.
says() {
  line=
  [ ! -e "$1" ] || IFS= read -r line <"$1"
  [ "$line" = "$2" ]
}

# Keep the new system and the nixos-rebuild that activates it from the garbage collector
# until the run has ended here: the one that ran before may lose its last root by then.
roots=/nix/var/nix/gcroots/orchestrate
# shellcheck disable=SC2154 # the script behind this text is given them
root() {
  [ -d "$roots" ] || mkdir -p "$roots"
  ln -sfn "$new" "$roots/$run"
  [ -z "$nixos_rebuild" ] || ln -sfn "$nixos_rebuild" "$roots/$run-nixos-rebuild"
}
unroot() { rm -f "$roots/$run" "$roots/$run-nixos-rebuild"; }

# For $run, begin to activate $1 by action $2 with the nixos-rebuild of package $3, or with
# the system's own switch-to-configuration if that is empty, in a unit of its own: an
# activation that restarts sshd or the network must not be killed by it. Its output
# goes to a file, for a broken pipe would kill it too, and its exit code to another,
# for whoever comes back when the session was lost. Set `no_check` to go back: a check
# that NixOS makes before a switch (system.preSwitchChecks) must not keep a host on what
# has failed.
#
# The lock is for the beginning: what hangs must let itself be stopped.
activate() {
  # shellcheck disable=SC2154 # the script behind this text is given it
  what="$run $1 $2" by=switch-to-configuration
  if [ -n "$3" ]; then
    by=nixos-rebuild
    set -- "$3/bin/nixos-rebuild" "$2" --no-reexec --store-path "$1"
  else
    set -- "$1/bin/switch-to-configuration" "$2"
  fi
  : >"$state/activation.code"
  : >"$state/activation.log"
  echo "$what" >"$state/activation.what"
  echo "$by" >"$state/activation.by"
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
    systemctl reset-failed "$activation_unit" 2>/dev/null
    begin_activation "$@"
  fi
}

begin_activation() {
  systemd-run --quiet --collect --no-ask-password --service-type=exec --unit="$activation_unit" \
    --setenv=PATH="$PATH" --setenv=LOCALE_ARCHIVE="${LOCALE_ARCHIVE-}" \
    ${no_check:+--setenv=NIXOS_NO_CHECK=1} \
    --property=StandardOutput="append:$state/activation.log" \
    --property=StandardError="append:$state/activation.log" \
    --property=TimeoutStopSec=10 \
    sh "$state/activation.sh" "$@"
}

# Activate $1 by action $2 with package $3, and wait $4 seconds for its end without the lock.
activate_and_wait() {
  if activate "$1" "$2" "$3"; then
    let_go
    activation_end "$4"
  else
    ended=unbegun
  fi
}

# Whether $run has begun to activate $1 by action $2, and nothing else since.
has_begun() { says "$state/activation.what" "$run $1 $2"; }

# Wait $1 seconds for the end of the activation and pass on its output. `ended` is its
# exit code: `goes-on` if it isn't over, 143 if it was stopped. To wait for its lock costs
# nothing meanwhile, and needs no answer of a systemd that is being replaced.
activation_end() {
  read -r up _ </proc/uptime
  limit=$((${up%.*} + $1)) left=$1 pause=0.02 tries=0
  while [ "$left" -gt 0 ]; do
    flock -s -E "$exit_held" -w "$left" 8 8>>"$state/activation.lock"
    [ "$?" != "$exit_held" ] || break
    # Free: it has ended, or its shell has yet to take it, in a moment. If it takes
    # longer it may have been stopped.
    [ "$tries" -lt 10 ] || pause=0.1
    if [ -s "$state/activation.code" ] || { [ "$pause" = 0.1 ] && ! is_under_way; }; then
      ended=
      [ ! -e "$state/activation.code" ] || read -r ended <"$state/activation.code"
      ended=${ended:-143}
      activation_output
      return
    fi
    tries=$((tries + 1))
    sleep "$pause"
    read -r up _ </proc/uptime
    left=$((limit - ${up%.*}))
  done
  ended=goes-on
  activation_output
}
activation_output() { [ ! -s "$state/activation.log" ] || pass_on <"$state/activation.log"; }

# What of a host has failed before a switch, each unit with its files: an activation ends
# with 4 for any failed unit of the host, also for one that it leaves as it is, and for one
# that systemd starts over and over.
note_failed_units() {
  systemctl list-units --state=failed,auto-restart --plain --no-legend --no-pager 2>/dev/null |
    while read -r unit _; do
      printf '%s %s\n' "$unit" "$(unit_files "$unit")"
    done >"$state/failed-units"
}
# Its own file and the drop-ins, by which NixOS changes a unit that a package brings.
unit_files() {
  for file in $(systemctl show --property=FragmentPath --property=DropInPaths --value -- "$1"); do
    printf '%s ' "$(readlink -f "$file")"
  done
}
say_failed_before() {
  [ "$ended" = 4 ] && [ -e "$state/failed-units" ] || return 0
  while read -r unit files; do
    now=$(unit_files "$unit")
    [ "${now% }" != "$files" ] || say failed_before "$unit"
  done <"$state/failed-units"
}

# Whether the system runs that was activated. 4: with failed units; whether that will do
# isn't for a script to say.
has_ended_well() { [ "$ended" = 0 ] || [ "$ended" = 4 ]; }

# End as the activation did.
leave_as_activated() {
  case "$ended" in
    goes-on) leave "$exit_goes_on" ;;
    unbegun) leave "$exit_not_activated" ;;
    # One that was stopped ends without a code, as if terminated.
    143) leave "$exit_stopped" ;;
  esac
  say activation "$ended"
  say_failed_before
  if has_ended_well; then leave "$exit_done"; else leave "$exit_activation_failed"; fi
}

# Wait $2 seconds for the end of what $run has begun, the activation of $1 by test, and
# end as it did.
rejoin() {
  activation_end "$2"
  left=no
  case "$ended" in
    143) left=yes ;;
    0 | 4) [ "$(running)" = "$1" ] || left=yes ;;
  esac
  if [ "$left" = yes ] || is_taken; then
    leave "$exit_went_back" "it runs $(running)"
  fi
  leave_as_activated
}

# systemd doesn't answer while an activation replaces it.
is_under_way() {
  case "$(unit_state "$activation_unit")" in
    inactive | failed) return 1 ;;
    "") ! [ -s "$state/activation.code" ] ;;
  esac
}

# Stop an activation of ours that is under way; with all its processes dead its lock is
# free. By nixos-rebuild it has a unit inside, whose name another user's nixos-rebuild
# takes as well: it is ours only while ours is at work.
stop_activation() {
  units=$activation_unit
  if is_under_way && says "$state/activation.by" nixos-rebuild; then
    units="$units $rebuild_unit"
  fi
  for unit in $units; do
    timeout 20 systemctl stop "$unit" 2>/dev/null ||
      systemctl kill --signal=KILL "$unit" 2>/dev/null
  done
}

# Leave unless $1 is a system that can be activated.
leave_unless_switchable() {
  [ ! -x "$1/bin/switch-to-configuration" ] || return 0
  [ ! -e "$1/nixos-version" ] || leave "$exit_not_switchable"
  leave "$exit_not_nixos" "$1"
}

# Leave if another program activates a system now: an upgrade by itself, or a person. It
# is neither waited for nor stopped.
leave_if_busy() {
  case "$(unit_state "$rebuild_unit")" in
    active | activating | deactivating | reloading) leave "$exit_busy" "$rebuild_unit is at work" ;;
  esac
  switch_lock=/run/nixos/switch-to-configuration.lock
  [ -e "$switch_lock" ] || return 0
  inode=$(stat -c %i "$switch_lock")
  # To try the lock would take it from whoever tries at this moment. proc_locks(5)
  while read -r _ kind _ _ pid place _; do
    if [ "$kind" = FLOCK ] && [ "${place##*:}" = "$inode" ]; then
      comm=
      [ ! -r "/proc/$pid/comm" ] || read -r comm <"/proc/$pid/comm"
      leave "$exit_busy" "process $pid (${comm:-unknown}) holds $switch_lock"
    fi
  done </proc/locks
}

# The last resort if the old system's activation fails and $1 says reboot: what
# failed has not touched the boot default. An orderly shutdown could wait for the
# very unit that hangs; this one still asks every process to end.
last_resort() {
  [ "$1" = reboot ] || return
  echo "the old system can't be activated: rebooting into the boot default" >&2
  systemctl reboot --force && sleep 60
}

# Make system $1 the profile's: its generation $2, if that is still this system, or a new one.
profile=/nix/var/nix/profiles/system
set_profile() {
  if [ -n "$2" ] && [ "$(resolved "$profile-$2-link")" = "$1" ]; then
    # It tells of every switch on standard error, where the reason of a failure is looked for.
    nix-env --quiet --quiet --profile "$profile" --switch-generation "$2"
  else
    nix-env --profile "$profile" --set "$1"
  fi
}

# The number of the newest generation that is system $1; nothing if none is.
generation_of() {
  newest=
  for link in "$profile"-*-link; do
    [ "$(resolved "$link")" = "$1" ] || continue
    number=${link#"$profile-"}
    number=${number%-link}
    [ "${newest:-0}" -gt "$number" ] || newest=$number
  done
  echo "$newest"
}

# Only for `$(…)`, whose subshell goes there: a system is a directory.
resolved() { cd -P "$1" 2>/dev/null && pwd -P; }
running() { resolved /run/current-system; }
boot_default() { resolved "$profile"; }
# What is-active prints is the state, and costs systemd less to say than `show`.
unit_state() { systemctl is-active "$1" 2>/dev/null; }

# Stop the timer of the automatic rollback; fail if it has fired and is at work.
disarm() {
  systemctl stop "$rollback_unit.timer" 2>/dev/null
  ! is_taken
}

# Disarm for $1 to stay, and leave if it is too late for that. $2 is the old system.
disarm_or_leave() {
  ! is_given_up || leave "$exit_given_up" "it runs $(running)"
  noted=$1
  [ ! -e "$unconfirmed" ] || read -r noted _ <"$unconfirmed"
  # A timer that another run has armed since then isn't this one's to stop.
  [ "$noted" = "$1" ] || leave "$exit_drifted" "it runs $(running)"
  disarm || leave "$exit_went_back" "it runs $(running)"
  now=$(running)
  [ "$now" != "$1" ] || return 0
  [ -z "$2" ] || [ "$now" != "$2" ] || leave "$exit_went_back" "it runs $now"
  leave "$exit_drifted" "it runs ${now:-no system}"
}

# A oneshot that runs is "activating", which the exit code of is-active doesn't count.
is_taken() {
  case "$(unit_state "$rollback_unit.service")" in
    active | activating | deactivating) return 0 ;;
    *) return 1 ;;
  esac
}

# What no run has confirmed, the host would leave by itself in the midst of what follows,
# and stop that: let it go back now. $1 is how long to wait for the lock, $2 for whom.
take_armed_rollback() {
  [ "$(unit_state "$rollback_unit.timer")" = active ] || is_taken || return 0
  let_go
  timeout "$1" systemctl start "$rollback_unit.service" 2>/dev/null
  # It has not fired by itself, and would go back once more.
  systemctl stop "$rollback_unit.timer" 2>/dev/null
  take_host_or_leave "$1" "$2"
}
