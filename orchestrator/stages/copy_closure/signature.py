"""Who vouches for what travels: the builder signs, the target checks.

The key is the builder's own: it makes one when it first signs, and the target is
told by the run which key to trust, for this one copy. A key pinned in the
inventory must be the one that the builder has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import PayloadError, StageError
from orchestrator.model.stage import Stage
from orchestrator.scripts import answer_of, script

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.model.store import StorePath
    from orchestrator.transport.shell import Shell


@dataclass(frozen=True, slots=True)
class Signature:
    """What is known of paths before they travel.

    Args:
        nbytes: how many bytes they are, unpacked.
        key: the public key of their signatures; None if the target doesn't check.
    """

    nbytes: int
    key: str | None

    @property
    def is_checked(self) -> bool:
        """Whether the target takes only what is signed."""
        return self.key is not None


async def sign(builder: Shell, paths: Iterable[StorePath]) -> str:
    """Sign paths on the builder that has them; give the public key.

    Raises:
        CommandError: the builder can't.
        PayloadError: it answers something else.
    """
    said = await builder.run(script("stages/copy_closure/sign.sh").with_lines(paths))
    answer = answer_of(said, Stage.COPY_CLOSURE, "the builder can't sign the closure")
    key = answer.one("key", Stage.COPY_CLOSURE)
    name, _, public = key.partition(":")
    if not name or not public or len(key.split()) != 1:
        message = f"expected a public key, found {key[:120]!r}"
        raise PayloadError(message, host=builder.host, stage=Stage.COPY_CLOSURE)
    return key


def check_pinned(builder: str, key: str, pinned: str | None) -> None:
    """Check that a builder signs with the key that the inventory names for it, if any. Pure.

    Raises:
        StageError: it signs with another one.
    """
    if pinned is None or key == pinned:
        return
    raise StageError(
        message=f"builder {builder} signs with the key {key}, and the inventory has {pinned}",
        hint="if that is its key now, put it into orchestrate_builder.signing_key",
        host=builder,
        stage=Stage.COPY_CLOSURE,
    )
