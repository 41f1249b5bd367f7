"""Where the product runs: on this machine's files, on the lab's network."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.lab.processes import run

if TYPE_CHECKING:
    from collections.abc import Sequence

# substituters is empty because nothing outside can be reached: each command would
# spend 5 s on retries. max-jobs is 0 because the store of a controller without
# /nix can't build: building is for builders.
_NIX_CONF = """\
experimental-features = nix-command flakes
substituters =
flake-registry =
build-users-group =
sandbox = false
connect-timeout = 3
max-jobs = 0
"""


@dataclass(frozen=True)
class Controller:
    """Runs commands on the lab's network with an environment of the lab's own.

    Args:
        env: the whole environment that its commands get.
        argv_prefix: what makes any process a process of the controller.

    """

    env: Mapping[str, str]
    argv_prefix: tuple[str, ...]

    def run(  # noqa: PLR0913 - the options of a child process
        self,
        argv: Sequence[str | Path],
        *,
        check: bool = True,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float | None = 300,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; `env` is added to the controller's own."""
        return run(
            [*self.argv_prefix, *argv],
            check=check,
            stdin=stdin,
            env={**self.env, **(env or {})},
            cwd=cwd,
            timeout=timeout,
        )

    def popen(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        **options: Any,  # noqa: ANN401 - whatever subprocess.Popen takes
    ) -> subprocess.Popen[Any]:
        """Start a command; the lab ends it at the latest when it ends itself."""
        whole = [*self.argv_prefix, *(str(part) for part in argv)]
        return subprocess.Popen(whole, env={**self.env, **(env or {})}, **options)


def controller_env(*, lab: Path, home: Path, nix: Path | None) -> dict[str, str]:
    """Make the environment: a home of its own, and Nix on PATH or surely not."""
    xdg = {
        "XDG_CACHE_HOME": home / ".cache",
        "XDG_CONFIG_HOME": home / ".config",
        "XDG_DATA_HOME": home / ".local/share",
        "XDG_STATE_HOME": home / ".local/state",
        "XDG_RUNTIME_DIR": home / "run",
        "TMPDIR": home / "tmp",
    }
    for directory in xdg.values():
        directory.mkdir(parents=True, exist_ok=True)
    (home / "run").chmod(0o700)
    path = _path_without_nix(lab)
    env = {"HOME": str(home), "LANG": "C.UTF-8", "TERM": "dumb", "USER": "root"}
    env |= {name: str(directory) for name, directory in xdg.items()}
    if nix is None:
        return env | {"PATH": path}
    conf = lab / "nix-conf"
    conf.mkdir(exist_ok=True)
    (conf / "nix.conf").write_text(_NIX_CONF)
    return env | {
        "PATH": f"{nix / 'bin'}:{path}",
        "NIX_CONF_DIR": str(conf),
        "NIX_REMOTE": f"local?root={lab / 'controller-store'}",
    }


def _path_without_nix(lab: Path) -> str:
    """Return this process's PATH, with a folder that has a nix replaced by one without."""
    directories: list[str] = []
    for number, directory in enumerate(os.environ.get("PATH", os.defpath).split(":")):
        if not (Path(directory) / "nix").exists():
            directories.append(directory)
            continue
        stand_in = lab / "path" / str(number)
        if not stand_in.is_dir():
            stand_in.mkdir(parents=True)
            for program in Path(directory).iterdir():
                if not program.name.startswith("nix"):
                    (stand_in / program.name).symlink_to(program)
        directories.append(str(stand_in))
    return ":".join(directories)
