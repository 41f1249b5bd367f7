# Answer what this host has booted and runs, and what of a system only a reboot brings.
#
# $toplevel: the system, whose closure is here

set -u
# Only for `$(…)`, whose subshell goes there: a system is a directory.
resolved() { cd -P "$1" 2>/dev/null && pwd -P; }
for link in running_system:/run/current-system booted_system:/run/booted-system; do
  [ ! -e "${link#*:}" ] || say "${link%%:*}" "$(resolved "${link#*:}")"
done
read -r boot_id </proc/sys/kernel/random/boot_id
say boot_id "$boot_id"
# A host that booted no NixOS system says nothing of what it has booted.
[ -e /run/booted-system ] || leave "$exit_done"
both=''
set --
for part in kernel initrd kernel-modules; do
  [ -e "$toplevel/$part" ] || continue
  if [ -e "/run/booted-system/$part" ]; then
    both="$both $part"
    set -- "$@" "$toplevel/$part" "/run/booted-system/$part"
  else
    say changed "$part"
  fi
done
[ "$both" ] || leave "$exit_done"
# One start for all of them. Not readlink, for busybox's takes one name only.
realpath "$@" | for part in $both; do
  read -r new && read -r booted || exit
  [ "$new" = "$booted" ] || say changed "$part"
done || leave "$exit_unreadable"
leave "$exit_done"
