#!/bin/sh
# What NixOS's switch-to-configuration does, for a host whose systemd is not
# NixOS's: it knows only the units that these systems installed and can stop
# nothing else.
set -u
toplevel=@toplevel@
units=/run/systemd/system
action="${1:-}"
trap '' PIPE

usage() {
  cat >&2 <<USAGE
Usage: $0 [check|switch|boot|test|dry-activate]

check:        run pre-switch checks and exit
switch:       make the configuration the boot default and activate now
boot:         make the configuration the boot default
test:         activate the configuration, but don't make it the boot default
dry-activate: show what would be done if this configuration were activated
USAGE
  exit 1
}
case "$action" in
  check | switch | boot | test | dry-activate) ;;
  *) usage ;;
esac

mkdir -p /run/nixos
exec 9>/run/nixos/switch-to-configuration.lock
if ! flock -n 9; then
  echo "Could not acquire lock" >&2
  # The last error of its system call, EAGAIN: switch-to-configuration-ng's die().
  exit 11
fi
if [ "${NIXOS_NO_CHECK:-}" != 1 ]; then
  if ! "$toplevel/pre-switch-check" "$toplevel" "$action" 9>&-; then
    echo "Pre-switch checks failed" >&2
    exit 1
  fi
fi
[ "$action" = check ] && exit 0

if [ "$action" = switch ] || [ "$action" = boot ]; then
  if ! "$toplevel/install-boot-loader" "$toplevel"; then
    echo "Failed to install bootloader" >&2
    exit 1
  fi
fi
[ "$action" = boot ] && exit 0

installed() {
  for file in "$units"/*; do
    if [ -L "$file" ] && [ ! -d "$file" ]; then
      case "$(readlink "$file")" in /nix/store/*) echo "${file##*/}" ;; esac
    fi
  done
}
declared() {
  for file in "$toplevel"/systemd/*; do
    if [ -f "$file" ]; then echo "${file##*/}"; fi
  done
}
wanted() {
  for file in "$toplevel"/systemd/*.wants/* "$toplevel"/systemd/*.requires/*; do
    if [ -e "$file" ]; then echo "${file##*/}"; fi
  done | sort -u
}
is_active() {
  case "$(systemctl show -p ActiveState --value "$1" 2>/dev/null)" in
    active | activating | reloading) return 0 ;;
    *) return 1 ;;
  esac
}
asks() { grep -q "^$2\$" "$toplevel/systemd/$1"; }
comma_list() { echo "$*" | sed 's/ /, /g'; }
announce() {
  what="$1"
  shift
  [ $# -eq 0 ] || echo "$what the following units: $(comma_list "$@")" >&2
}

# Sort what is there by what the new system says of it.
stop='' restart='' reload='' skip=''
for unit in $(installed); do
  if [ ! -e "$toplevel/systemd/$unit" ]; then
    if is_active "$unit"; then stop="$stop $unit"; fi
  elif ! cmp -s "$units/$unit" "$toplevel/systemd/$unit" && is_active "$unit"; then
    if asks "$unit" X-ReloadIfChanged=true; then
      reload="$reload $unit"
    elif asks "$unit" X-RestartIfChanged=false; then
      skip="$skip $unit"
    elif asks "$unit" X-StopIfChanged=false; then
      restart="$restart $unit"
    else
      stop="$stop $unit"
    fi
  fi
done
start=''
for unit in $(wanted); do
  case " $stop " in
    *" $unit "*) start="$start $unit" ;;
    *) is_active "$unit" || start="$start $unit" ;;
  esac
done
# A changed unit that nothing wants but that ran must run again.
for unit in $stop; do
  case " $start " in *" $unit "*) continue ;; esac
  if [ -e "$toplevel/systemd/$unit" ]; then start="$start $unit"; fi
done

# Lists of unit names: splitting is meant.
# shellcheck disable=SC2086
if [ "$action" = dry-activate ]; then
  announce "would stop" $stop
  announce "would NOT restart" $skip
  echo "would activate the configuration..." >&2
  announce "would reload" $reload
  announce "would restart" $restart
  announce "would start" $start
  exit 0
fi

install_units() {
  mkdir -p "$units"
  for unit in $(installed); do
    [ -e "$toplevel/systemd/$unit" ] || rm -f "$units/$unit"
  done
  find "$units" -mindepth 2 -type l \( -path '*.wants/*' -o -path '*.requires/*' \) |
    while read -r link; do
      case "$(readlink "$link")" in ../*) ;; *) continue ;; esac
      [ -e "$toplevel/systemd${link#"$units"}" ] || rm -f "$link"
    done
  for unit in $(declared); do
    ln -sfn "$(readlink -f "$toplevel/systemd/$unit")" "$units/$unit"
  done
  for directory in "$toplevel"/systemd/*.wants "$toplevel"/systemd/*.requires; do
    [ -d "$directory" ] || continue
    mkdir -p "$units/${directory##*/}"
    cp -P "$directory"/* "$units/${directory##*/}/"
  done
}

status=0
# shellcheck disable=SC2086
{
  announce stopping $stop
  [ -z "$stop" ] || systemctl stop $stop
  announce "NOT restarting" $skip

  echo "activating the configuration..." >&2
  "$toplevel/activate" || status=$?

  install_units
  systemctl daemon-reload || status=3

  # What failed before is tried again, or is no unit any more.
  systemctl reset-failed

  announce reloading $reload
  [ -z "$reload" ] || systemctl reload $reload
  announce restarting $restart
  [ -z "$restart" ] || systemctl restart $restart 2>/dev/null
  announce starting $start
  [ -z "$start" ] || systemctl start $start 2>/dev/null
}

# Any failed unit of the host counts, as for switch-to-configuration-ng.
failed=$(systemctl list-units --state=failed --plain --no-legend --no-pager | awk '{ printf " %s", $1 }')
for unit in $(declared); do
  state=$(systemctl show -p ActiveState -p SubState -p ExecMainStatus --value "$unit" 2>/dev/null | tr '\n' ' ')
  case "$state" in
    # Waiting to be started again after it ended badly.
    *auto-restart*) case "$state" in "0 "* | *" 0 "*) ;; *) failed="$failed $unit" ;; esac ;;
  esac
done
# shellcheck disable=SC2086
if [ -n "$failed" ]; then
  echo "warning: the following units failed: $(comma_list $failed)" >&2
  systemctl status --no-pager --full $failed >&2 2>/dev/null
  status=4
fi
exit "$status"
