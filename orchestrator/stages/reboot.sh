# What this host has booted and runs, and what of a system only a reboot brings.
#
# $1 toplevel
set -u
for link in running_system:/run/current-system booted_system:/run/booted-system; do
  [ ! -e "${link#*:}" ] || echo "${link%%:*}=$(readlink -f "${link#*:}")"
done
echo "boot_id=$(cat /proc/sys/kernel/random/boot_id)"
# A host that booted no NixOS system says nothing of what it has booted.
[ -e /run/booted-system ] || exit 0
for part in kernel initrd kernel-modules; do
  [ -e "$1/$part" ] || continue
  [ "$(readlink -f "$1/$part")" = "$(readlink -f "/run/booted-system/$part")" ] ||
    echo "changed=$part"
done
