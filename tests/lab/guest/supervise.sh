#!/usr/bin/env bash
# supervise.sh HOST_DIR LOWER CGROUP CONFINED NAME LAB_ADDRESS…
# One machine's mains and chassis: keeps its disks and network, starts its
# processes when the power comes on and again when they ask for a reboot.
# Runs in a mount and a network namespace of its own, so that everything it
# makes goes away with it.
set -eu
host=$1 lower=$2 cgroup=$3
guest=$(dirname "$0")

# Mounted once, not at each boot: the disks outlive the processes. Never forced to
# the machine's disk (volatile, nobarrier): nothing of a lab outlives the machine.
mount -t overlay overlay \
  -o "volatile,lowerdir=$lower,upperdir=$host/upper,workdir=$host/work" "$host/root"
mount -o loop,noatime,nobarrier "$host/nix.ext4" "$host/root/nix"
rmdir "$host/root/nix/lost+found"
exec 3<>"$host/power"
echo off >"$host/state"
echo ready

power=off
while :; do
  if [ "$power" = off ]; then
    echo off >"$host/state"
    read -r power <&3
  fi
  # Left by the boot before; all its processes are dead.
  find "$cgroup" -mindepth 1 -depth -type d -exec rmdir {} + 2>/dev/null || true
  status=0
  unshare --mount --propagation=private --pid --fork --kill-child=SIGKILL --ipc --uts \
    bash "$guest/join.sh" "$cgroup" unshare --cgroup bash "$guest/boot.sh" "$@" 3>&- || status=$?
  rm -f "$host/pid"
  # The kernel says what init asked for: SIGHUP is a reboot, SIGINT a power-off,
  # SIGKILL is what a power cut looks like.
  if [ "$status" = 129 ]; then power=on; else power=off; fi
done >>"$host/console" 2>&1
