"""The stages of a deployment, in the order of the way."""

from __future__ import annotations

from enum import StrEnum


class Stage(StrEnum):
    """Where something happened: in an event, an error, a journal.

    The value is what users read and what `--json` prints. `stages/` has a room for
    each part of the way; if one has several stages, these stand for its files.
    """

    CONNECT = "connect"
    TRUST = "trust"
    FACTS = "facts"
    VARIANT = "variant"
    FLAKE = "flake"
    EVALUATE = "evaluate"
    CHECK_FLAKE = "check_flake"
    ADOPT = "adopt"
    PLAN = "plan"
    BUILD = "build"
    COPY_CLOSURE = "copy_closure"
    SWITCH = "switch"
    SMOKE_MODEL = "smoke_model"
    SMOKE = "smoke"
    HEALTH_CHECK = "health_check"
    CONFIRM = "confirm"
    REBOOT = "reboot"
    BOOT = "boot"
    DRY_ACTIVATE = "dry_activate"
    ROLLBACK = "rollback"
