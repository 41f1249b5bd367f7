#!/usr/bin/env bash
# boot.sh HOST_DIR LOWER CGROUP CONFINED NAME LAB_ADDRESS…
# Firmware and boot loader of a host: runs as PID 1 of its namespaces, sets up
# what a kernel would, and hands over to systemd.
set -eu
host=$1 confined=$4 name=$5
shift 5
root=$host/root

# Still the machine's /proc, so this is the number by which the machine knows us.
read -r pid _ </proc/self/stat
echo "$pid" >"$host/pid"

# At each boot, because the namespace outlives it and a host may have changed it.
{
  echo link set lo up
  nic=0
  for address; do
    printf 'address flush dev eth%d\naddress add %s dev eth%d\nlink set eth%d up\n' \
      "$nic" "$address" "$nic" "$nic"
    nic=$((nic + 1))
  done
} | ip -batch -

hostname "$name"
mount -t proc proc "$root/proc"
# The kernel's settings are the machine's: readable, but only those of the
# host's own network can be changed.
mount --bind "$root/proc/sys" "$root/proc/sys"
mount --bind "$root/proc/sys/net" "$root/proc/sys/net"
mount -o remount,bind,ro "$root/proc/sys"
if [ -e "$root/proc/sysrq-trigger" ]; then
  mount --bind -o ro /dev/null "$root/proc/sysrq-trigger"
fi
echo 0 >"$root/proc/sys/net/ipv4/ip_forward"

mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755,size=4m tmpfs "$root/dev"
for node in null zero full random urandom tty; do
  : >"$root/dev/$node"
  mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s fd/0 "$root/dev/stdin"
ln -s fd/1 "$root/dev/stdout"
ln -s fd/2 "$root/dev/stderr"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"

# A boot has an id of its own, as on a machine of its own.
cat /proc/sys/kernel/random/uuid >"$root/run/boot-id"
mount --bind -o ro "$root/run/boot-id" "$root/proc/sys/kernel/random/boot_id"

if [ -s "$root/boot/loader/default" ]; then
  read -r toplevel <"$root/boot/loader/default"
  ln -s "$toplevel" "$root/run/booted-system"
  ln -s "$toplevel" "$root/run/current-system"
fi

cd "$root"
pivot_root . .
umount -l .
# shellcheck disable=SC2086 # a command and its options
exec $confined env -i container=orchestrate-lab PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --log-target=journal --show-status=no
