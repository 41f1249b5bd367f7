"""A builder that gives its paths to many hosts, and is asked for all of them together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator import nix
from orchestrator.model.closure import PathInfo, closure_of
from orchestrator.model.stage import Stage
from orchestrator.stages.copy_closure.coalesce import Coalescer
from orchestrator.stages.copy_closure.signature import sign

if TYPE_CHECKING:
    from orchestrator.model.store import StorePath
    from orchestrator.transport.shell import Shell


class ClosureSource:
    """What copies ask of one builder; each start of Nix there answers all that wait.

    Args:
        shell: the builder.
    """

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self._infos = Coalescer(self._ask_infos)
        self._key = Coalescer(self._sign)

    async def closure(self, roots: tuple[StorePath, ...]) -> tuple[PathInfo, ...]:
        """Return the closure of `roots`, dependencies first.

        Raises:
            CommandError: its store can't be asked, or lacks one of them.
            PayloadError: it answers something else.
        """
        return closure_of(roots, await self._infos.answer(roots))

    async def sign(self, paths: tuple[StorePath, ...]) -> str:
        """Sign paths with the builder's own key; give its public half.

        Raises:
            CommandError: the builder can't.
            PayloadError: it answers something else.
        """
        return await self._key.answer(paths)

    async def _ask_infos(
        self, asked: tuple[tuple[StorePath, ...], ...]
    ) -> dict[StorePath, PathInfo]:
        said = await self.shell.run(nix.path_infos(_union(asked)))
        return nix.parse_path_infos(
            said.check(Stage.COPY_CLOSURE, "its store can't be asked").stdout
        )

    async def _sign(self, asked: tuple[tuple[StorePath, ...], ...]) -> str:
        return await sign(self.shell, _union(asked))


class ClosureSources:
    """The builders that this process copies from, each on its connection of now."""

    def __init__(self) -> None:
        self._known: dict[str, ClosureSource] = {}

    def at(self, shell: Shell) -> ClosureSource:
        """Return the closure_source behind a connection; another connection makes another one."""
        known = self._known.get(shell.host)
        if known is None or known.shell != shell:
            known = self._known[shell.host] = ClosureSource(shell)
        return known


def _union(asked: tuple[tuple[StorePath, ...], ...]) -> tuple[StorePath, ...]:
    """Return every path once."""
    return tuple(dict.fromkeys(path for paths in asked for path in paths))
