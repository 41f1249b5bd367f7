"""A Nix for the controller that needs no /nix: taken out of an image, relocated."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.lab.cache import cache_directory, cached, content_key
from tests.lab.images import IMAGES
from tests.lab.processes import run

# glibc loads these by name when a user or host is looked up; ldd can't see them.
_LOADED_LATE = ("libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2")
_LIBRARIES = "usr/lib/x86_64-linux-gnu"
_APPLETS = (
    "nix-build",
    "nix-channel",
    "nix-collect-garbage",
    "nix-copy-closure",
    "nix-daemon",
    "nix-env",
    "nix-hash",
    "nix-instantiate",
    "nix-prefetch-url",
    "nix-shell",
    "nix-store",
)


def nix_bundle() -> Path:
    """Return the folder whose `bin` has a `nix` that runs on this machine."""
    # The programs name their libraries by absolute path, so the place is part of it.
    recipe = Path(__file__).read_bytes()
    key = content_key(IMAGES["forky"].key, str(cache_directory()), recipe)
    name = f"nix-{key}"
    final = cache_directory() / name
    return cached(name, lambda unfinished: _assemble(unfinished, final))


def _assemble(target: Path, final: Path) -> None:
    root = IMAGES["forky"].root()
    (target / "bin").mkdir(parents=True)
    (target / "lib").mkdir()
    (target / "libexec/nix").mkdir(parents=True)
    shutil.copy(root / "usr/bin/nix", target / "bin/nix")
    for library in _needed_libraries(root):
        shutil.copy(library, target / "lib")
    loader = final / "lib/ld-linux-x86-64.so.2"
    rpath = ["--force-rpath", "--set-rpath", str(final / "lib")]
    run(["patchelf", "--set-interpreter", loader, *rpath, target / "bin/nix"])
    for library in (target / "lib").iterdir():
        # Neither the loader nor libc may be edited.
        if not library.name.startswith(("ld-linux", "libc.so")):
            run(["patchelf", *rpath, library])
    for applet in _APPLETS:
        (target / "bin" / applet).symlink_to("nix")
    # nix starts its build hook by this path relative to itself.
    (target / "libexec/nix/build-remote").symlink_to("../../bin/nix")


def _needed_libraries(root: Path) -> set[Path]:
    listed = run(["chroot", root, "ldd", "/usr/bin/nix"]).stdout
    named = re.findall(r"(?:=> )?(/\S+) \(0x", listed)
    late = (f"/{_LIBRARIES}/{name}" for name in _LOADED_LATE)
    return {root / path.lstrip("/") for path in (*named, *late)}
