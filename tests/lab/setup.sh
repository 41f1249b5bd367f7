#!/bin/sh
# setup.sh [--check]: gets what the lab needs from this machine. Safe to run again:
# it is silent and changes nothing when all is there. --check only says what is not.
set -eu
check=${1:-}

# command:Debian package:nixpkgs attribute
needed='
mmdebstrap:mmdebstrap:mmdebstrap
patchelf:patchelf:patchelf
ssh:openssh-client:openssh
ssh-keygen:openssh-client:openssh
ip:iproute2:iproute2
tc:iproute2:iproute2
zstd:zstd:zstd
tar:tar:gnutar
mkfs.ext4:e2fsprogs:e2fsprogs
unshare:util-linux:util-linux
nsenter:util-linux:util-linux
setpriv:util-linux:util-linux
mount:mount:util-linux
git:git:git
bash:bash:bash
busybox:busybox:busybox
'

missing() { # FIELD: that field of what is not there, each once
  for entry in $needed; do
    PATH=$PATH:/usr/sbin:/sbin command -v "${entry%%:*}" >/dev/null 2>&1 ||
      echo "$entry" | cut -d: -f"$1"
  done | sort -u
}

fail() {
  echo "setup.sh: $*" >&2
  exit 1
}

install() { # PACKAGE...: by apt-get, with fresh lists only where the old ones don't do
  export DEBIAN_FRONTEND=noninteractive
  apt-get install -qq -y --no-install-recommends "$@" >/dev/null 2>&1 && return
  apt-get update -qq && apt-get install -qq -y --no-install-recommends "$@" >/dev/null
}

[ "$(uname -s)" = Linux ] || fail "the lab runs on Linux only"
[ "$(uname -m)" = x86_64 ] || fail "the lab's images are made for x86_64 only"
[ "$(id -u)" = 0 ] || fail "the lab needs root (namespaces, mounts, cgroups): run it with sudo"

if [ -n "$(missing 1)" ]; then
  if [ -e /etc/NIXOS ]; then
    attributes=$(missing 3 | sed 's/^/nixpkgs#/' | tr '\n' ' ')
    fail "missing: $(missing 1 | tr '\n' ' ')
on NixOS run everything of the lab within:
  nix shell ${attributes}nixpkgs#debian-archive-keyring"
  elif [ "$check" = --check ]; then
    fail "missing: $(missing 1 | tr '\n' ' '); run tests/lab/setup.sh"
  elif command -v apt-get >/dev/null; then
    # shellcheck disable=SC2046 # one word a package
    install $(missing 2) debian-archive-keyring
  fi
fi
# On Debian the standard library's venv comes without pip's part of it.
if [ "$check" != --check ] && command -v apt-get >/dev/null && ! python3 -c 'import ensurepip' 2>/dev/null; then
  install python3-venv
fi
[ -z "$(missing 1)" ] || fail "missing, install it your way: $(missing 1 | tr '\n' ' ')"

# mmdebstrap verifies the archive by this.
[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || [ -e /etc/NIXOS ] ||
  fail "missing: Debian's archive keyring (package debian-archive-keyring)"

# Namespaced bridges, veths and tc's tbf load themselves when they are asked for.
[ -e /dev/loop-control ] || modprobe loop 2>/dev/null || fail "this kernel has no loop devices"
grep -qw overlay /proc/filesystems || modprobe overlay 2>/dev/null ||
  fail "this kernel has no overlay filesystem"
[ "$(uname -r | cut -d. -f1)" -ge 6 ] ||
  fail "the lab needs Linux 6: it ends a cgroup at once by cgroup.kill"
[ -e /sys/fs/cgroup/unified ] || [ -e /sys/fs/cgroup/cgroup.procs ] ||
  fail "cgroup2 is mounted neither at /sys/fs/cgroup nor at /sys/fs/cgroup/unified"
