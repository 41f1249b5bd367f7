"""The root filesystems that hosts boot from: made by mmdebstrap, cached by content."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.lab.cache import cached, content_key
from tests.lab.processes import run

DEFAULT_MIRROR = "http://deb.debian.org/debian"
_RECIPE = Path(__file__).parent / "image"
_HOST_PACKAGES = (
    "nix-bin",
    "nix-setup-systemd",
    "openssh-server",
    "openssh-client",
    "iproute2",
    "procps",
    "ca-certificates",
    "sudo",
    "systemd",
    "systemd-sysv",
    "dbus",
)
_BUILDER_PACKAGES = (
    "gcc",
    "g++",
    "cmake",
    "make",
    "ninja-build",
    "git",
    # nixos-rebuild is a program of its.
    "python3",
    "llama.cpp-tools",
    "libggml0-backend-vulkan",
    "mesa-vulkan-drivers",
)
# Kept small: manuals are not read on a host of the lab.
_UNWANTED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
_NIX_BYTES = 64 << 30
# No journal: a power cut in the lab kills the guest's processes, not the kernel that
# keeps this filesystem whole. No reserve: full means full. The rest keeps an empty
# one at 100 KB in few pieces, because each host copies it and each lab removes it.
_NIX_FORMAT = (
    *("-m", "0", "-i", "65536", "-G", "1024"),
    *("-O", "^has_journal,^resize_inode,sparse_super2"),
    *("-E", "lazy_itable_init=1,nodiscard,num_backup_sb=0"),
)


@dataclass(frozen=True)
class Image:
    """A Debian suite and the packages that a host of it has."""

    suite: str
    packages: tuple[str, ...]

    @property
    def key(self) -> str:
        """Name the content: changes with the suite, the packages and the recipe."""
        recipe = [path.read_bytes() for path in sorted(_RECIPE.iterdir())]
        return content_key(self.suite, *self.packages, *_UNWANTED, *recipe)

    def archive(self) -> Path:
        """Return the packed root filesystem, made if it is not cached."""
        return cached(f"{self.suite}-{self.key}.tar.zst", self._debootstrap)

    def root(self) -> Path:
        """Return the unpacked root filesystem, which hosts only ever read."""
        return cached(f"{self.suite}-{self.key}", self._unpack)

    def nix_volume(self) -> Path:
        """Return a sparse filesystem image holding the suite's own empty /nix.

        A host's /nix is a copy of it on a loop device, because only a filesystem
        of its own can be full for one host alone.
        """
        key = content_key(self.key, str(_NIX_BYTES), *_NIX_FORMAT)
        return cached(f"{self.suite}-{key}.nix.ext4", self._format_nix)

    def _debootstrap(self, target: Path) -> None:
        scratch = target.with_suffix(".scratch")
        # Left by an attempt that was killed; the cache's lock says it is ours.
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        # mmdebstrap reads the format of its output from the name.
        packed = scratch / "root.tar.zst"
        # Killed with us, so that nothing of an interrupted build goes on alone.
        argv = ["setpriv", "--pdeathsig", "TERM", *self._mmdebstrap(packed)]
        run(argv, env={**os.environ, "TMPDIR": str(scratch)}, timeout=None)
        packed.rename(target)
        shutil.rmtree(scratch)

    def _mmdebstrap(self, packed: Path) -> list[str]:
        return [
            "mmdebstrap",
            "--quiet",
            "--mode=root",
            "--variant=minbase",
            '--aptopt=APT::Install-Recommends "false"',
            # A mirror or snapshot that stands still outlives the date in its
            # release file. The signature is verified all the same.
            '--aptopt=Acquire::Check-Valid-Until "false"',
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in _UNWANTED),
            f"--include={','.join(self.packages)}",
            f'--customize-hook={_RECIPE / "prepare.sh"} "$1"',
            self.suite,
            str(packed),
            mirror(),
        ]

    def _unpack(self, target: Path) -> None:
        archive = self.archive()
        target.mkdir()
        run(["tar", "--zstd", "--numeric-owner", "-xpf", archive, "-C", target])

    def _format_nix(self, target: Path) -> None:
        with target.open("wb") as volume:
            volume.truncate(_NIX_BYTES)
        run(["mkfs.ext4", "-q", *_NIX_FORMAT, "-d", self.root() / "nix", target])


IMAGES = {
    "trixie": Image("trixie", _HOST_PACKAGES),
    "forky": Image("forky", (*_HOST_PACKAGES, *_BUILDER_PACKAGES)),
}


def mirror(sources: Path = Path("/etc/apt")) -> str:
    """Return the Debian mirror that this machine's own apt uses."""
    files = [sources / "sources.list", *sorted(sources.glob("sources.list.d/*"))]
    for file in (file for file in files if file.is_file()):
        for line in file.read_text().splitlines():
            uri = _mirror_in(line)
            if uri:
                return uri
    return DEFAULT_MIRROR


def _mirror_in(line: str) -> str:
    """Find a Debian archive's URI in a deb822 `URIs:` or one-line `deb` entry."""
    kind, _, rest = line.partition(" ")
    if kind not in ("URIs:", "deb"):
        return ""
    candidates = rest.split("]")[-1].split()
    # Not debian-security and not a third party's: those don't hold the suites.
    uris = (uri.rstrip("/") for uri in candidates if "://" in uri)
    return next((uri for uri in uris if uri.endswith("/debian")), "")
