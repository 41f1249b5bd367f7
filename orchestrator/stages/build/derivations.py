"""Bring derivations to a builder: only what is missing, on open connections.

The stream that `nix-store --export` writes goes through this process into
`nix-store --import`, which works from a store here as well as from a host's, and
needs no signature: a builder builds what its evaluator says in any case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator import nix
from orchestrator.model.stage import Stage
from orchestrator.stages.store_contents import copy_failure, missing_paths
from orchestrator.transport.shell import pipe

if TYPE_CHECKING:
    from orchestrator.model.store import DerivationPath
    from orchestrator.transport.shell import Shell


async def copy_derivations(
    source: Shell, builder: Shell, derivations: tuple[DerivationPath, ...]
) -> None:
    """Make `derivations` and all that they are built from valid on the builder.

    Interrupted, it can be run again: paths that arrived whole are there.

    Raises:
        CommandError: one of the two sides failed.
        PayloadError: one of them answers something else.
    """
    missing = await missing_paths(source, builder, derivations)
    receive = builder.as_root(nix.import_stream())
    for start in range(0, len(missing), nix.EXPORT_PATHS):
        part = missing[start : start + nix.EXPORT_PATHS]
        sent, received = await pipe((source, nix.export(part)), (builder, receive), lambda _: None)
        if sent.returncode or received.returncode:
            failures = (sent.failure(Stage.EVALUATE), received.failure(Stage.EVALUATE))
            # The side that said something: the other one only saw the stream end.
            blamed = failures[1] if failures[1].last_lines else failures[0]
            raise copy_failure(source.host, builder.host, blamed)
