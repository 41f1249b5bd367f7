"""Who vouches for what travels: the builder signs, the target checks.

The key is the builder's own: it makes one when it first signs, and the target is
told by the run which key to trust, for this one copy. A key pinned in the
inventory must be the one that the builder has.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import PayloadError, StageError
from orchestrator.stages.shipped import shipped

if TYPE_CHECKING:
    from orchestrator.model.store import StorePath
    from orchestrator.transport.shell import Shell

_STAGE = "copy_closure"
_ANSWER = re.compile(r"bytes=(?P<bytes>\d+)\n(?:key=(?P<key>\S+:\S+)\n)?")


@dataclass(frozen=True, slots=True)
class Signature:
    """What is known of paths before they travel.

    Args:
        nbytes: how many bytes they are, unpacked.
        key: the public key of their signatures; None where the target doesn't check.
    """

    nbytes: int
    key: str | None

    @property
    def is_checked(self) -> bool:
        """Whether the target takes only what is signed."""
        return self.key is not None


async def sign(
    builder: Shell, paths: tuple[StorePath, ...], pinned: str | None, *, checked: bool
) -> Signature:
    """Weigh paths on the builder that has them, and sign them there.

    Args:
        builder: where they are.
        paths: all that is going to travel.
        pinned: the key that the inventory names for this builder.
        checked: whether they have to be signed.

    Raises:
        CommandError: the builder can't.
        StageError: it signs with another key than the pinned one.
        PayloadError: it answers something else.
    """
    command = shipped("sign.sh", "sign" if checked else "weigh").with_lines(paths)
    said = (await builder.run(command)).check(_STAGE, "the builder can't sign the closure").stdout
    answer = _ANSWER.fullmatch(said)
    if answer is None or (checked and answer["key"] is None):
        message = f"expected a size and a key, found {said[:120]!r}"
        raise PayloadError(message, host=builder.host, stage=_STAGE)
    if checked and pinned is not None and answer["key"] != pinned:
        raise StageError(
            message=f"builder {builder.host} signs with the key {answer['key']}, and the"
            f" inventory has {pinned}",
            hint="if that is its key now, put it into orchestrate_builder.signing_key",
            host=builder.host,
            stage=_STAGE,
        )
    return Signature(int(answer["bytes"]), answer["key"])
