"""Every variable that is understood."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inventory.copying import Caches, Copying, CopyLimits
from inventory.definition import Scope, definitions_of
from inventory.host import (
    BECOME,
    BECOME_METHOD,
    CONNECTION_PLUGIN,
    OLD_USER,
    Become,
    Builder,
    Connection,
    Fleet,
    HealthCheck,
    Host,
    Smoke,
)
from inventory.jump import ARGUMENTS
from inventory.rollout import Rollout
from inventory.yaml_source import PRIORITY

if TYPE_CHECKING:
    from inventory.definition import Definition

PREFIX = "orchestrate_"
"""How our own variables begin; the others are Ansible's."""

DEFINITIONS: tuple[Definition[Any], ...] = (
    *definitions_of(Fleet),
    *definitions_of(Host),
    *definitions_of(Builder),
    *definitions_of(Connection),
    OLD_USER,
    ARGUMENTS,
    CONNECTION_PLUGIN,
    PRIORITY,
    BECOME,
    BECOME_METHOD,
    *definitions_of(Become),
    *definitions_of(Copying),
    *definitions_of(Caches),
    *definitions_of(CopyLimits),
    *definitions_of(Rollout),
    *definitions_of(Smoke),
    *definitions_of(HealthCheck),
)

OURS = frozenset(
    definition.name
    for definition in DEFINITIONS
    if definition.name.startswith(PREFIX) and not definition.mapping
)
"""The names of our own variables."""

FLEET_VARIABLES = frozenset(
    definition.name for definition in DEFINITIONS if definition.scope is Scope.FLEET
)
"""The names of those that only the group `all` can set."""
