#!/bin/sh
# prepare.sh ROOT: makes an unpacked Debian bootable as a host of the lab.
# Part of the image's cache key: a change here rebuilds the images.
set -eu
root=$1
here=$(dirname "$0")

# What needs real hardware, the machine's kernel settings, or a login seat, and
# what apt would do in the background. systemd-sysctl is among them because the
# kernel's settings are the machine's own.
chroot "$root" systemctl -q mask \
  console-getty.service getty@tty1.service getty.target systemd-logind.service systemd-logind-varlink.socket \
  systemd-modules-load.service modprobe@.service systemd-sysctl.service \
  sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount \
  sys-fs-fuse-connections.mount dev-hugepages.mount dev-mqueue.mount \
  systemd-udevd.service systemd-udev-trigger.service systemd-remount-fs.service \
  systemd-networkd.service systemd-resolved.service systemd-network-generator.service \
  systemd-userdbd.socket systemd-nsresourced.socket systemd-mountfsd.socket \
  systemd-pstore.service systemd-random-seed.service systemd-update-utmp.service \
  systemd-firstboot.service systemd-hwdb-update.service systemd-journal-flush.service \
  systemd-journal-catalog-update.service systemd-update-done.service ldconfig.service \
  systemd-machine-id-commit.service sshd-keygen.service fstrim.timer \
  apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
  e2scrub_all.timer e2scrub_reap.service 2>/dev/null || true
# Started by its socket, as on NixOS.
chroot "$root" systemctl -q disable nix-daemon.service 2>/dev/null || true
cp "$here/lab-activate-boot.service" "$root/etc/systemd/system/"
chroot "$root" systemctl -q enable nix-daemon.socket ssh.service lab-activate-boot.service
chroot "$root" systemctl -q set-default multi-user.target

# Keys and identity are made per lab and never lie in a cached image.
rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/resolv.conf"
: >"$root/etc/machine-id"
mkdir -p "$root/etc/ssh/sshd_config.d"
cat >"$root/etc/ssh/sshd_config.d/00-lab.conf" <<'SSHD'
HostKey /etc/ssh/ssh_host_ed25519_key
UsePAM no
UseDNS no
PasswordAuthentication no
PermitRootLogin prohibit-password
X11Forwarding no
# A test that is refused on purpose must not slow down the next one.
MaxStartups 100:30:200
MaxSessions 64
PerSourcePenalties no
SSHD

chroot "$root" useradd --uid 1000 --create-home --shell /bin/bash --groups nix-users deploy
chroot "$root" usermod --password '*' deploy

mkdir -p "$root/etc/systemd/journald.conf.d" "$root/boot/loader"
printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=8M\n' >"$root/etc/systemd/journald.conf.d/lab.conf"

mkdir -p "$root/nix/store"
chroot "$root" chgrp nixbld /nix/store
chmod 1775 "$root/nix/store"
