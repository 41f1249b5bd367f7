# What the scripts that activate a system share. Each is sent after this text.

way_back=orchestrate-way-back

# Activate $1 by action $2, in a unit of its own: an activation that restarts
# sshd or the network must not be killed by it. Its output goes to a file, for a
# broken pipe would kill it too.
activate() {
  mkdir -p /run/orchestrate
  log=/run/orchestrate/activation.log
  : >"$log"
  if [ "$3" = nixos-rebuild ]; then
    set -- nixos-rebuild "$2" --store-path "$1"
  else
    set -- "$1/bin/switch-to-configuration" "$2"
  fi
  systemctl reset-failed orchestrate-activate.service 2>/dev/null
  systemd-run --quiet --collect --wait --no-ask-password --service-type=exec \
    --unit=orchestrate-activate --setenv=PATH="$PATH" --setenv=LOCALE_ARCHIVE="${LOCALE_ARCHIVE-}" \
    --property=StandardOutput="append:$log" --property=StandardError="append:$log" "$@"
  code=$?
  cat "$log"
  return "$code"
}

# readlink -f names even what is not there.
resolved() { [ -e "$1" ] && readlink -f "$1"; }
running() { resolved /run/current-system; }
boot_default() { resolved /nix/var/nix/profiles/system; }

# Stop the timer of the way back; fail if it has fired and is being taken.
disarm() {
  systemctl stop "$way_back.timer" 2>/dev/null
  ! is_taken
}

# A oneshot that runs is "activating", which is-active doesn't count.
is_taken() {
  case "$(systemctl show --property=ActiveState --value "$way_back.service" 2>/dev/null)" in
    active | activating | deactivating) return 0 ;;
    *) return 1 ;;
  esac
}
