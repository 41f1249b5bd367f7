# What this host has booted and runs, and what of a system only a reboot brings.
#
# $1 toplevel
set -u
# Only for `$(…)`, whose subshell goes there: a system is a directory.
resolved() { cd -P "$1" 2>/dev/null && pwd -P; }
for link in running_system:/run/current-system booted_system:/run/booted-system; do
  [ ! -e "${link#*:}" ] || echo "${link%%:*}=$(resolved "${link#*:}")"
done
read -r boot_id </proc/sys/kernel/random/boot_id
echo "boot_id=$boot_id"
# A host that booted no NixOS system says nothing of what it has booted.
[ -e /run/booted-system ] || exit 0
toplevel=$1
both=''
set --
for part in kernel initrd kernel-modules; do
  [ -e "$toplevel/$part" ] || continue
  if [ -e "/run/booted-system/$part" ]; then
    both="$both $part"
    set -- "$@" "$toplevel/$part" "/run/booted-system/$part"
  else
    echo "changed=$part"
  fi
done
[ "$both" ] || exit 0
# One start for all of them. Not readlink, for busybox's takes one name only.
realpath "$@" | for part in $both; do
  read -r new && read -r booted || exit
  [ "$new" = "$booted" ] || echo "changed=$part"
done
