"""The JSON schema of an inventory, with which an editor completes and checks one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inventory.definition import Scope
from inventory.definitions import DEFINITIONS, PREFIX

if TYPE_CHECKING:
    from inventory.definition import Definition, Schema

_FLEET = frozenset(Scope)
_GROUP = frozenset({Scope.GROUP, Scope.HOST})
_HOST = frozenset({Scope.HOST})


def inventory_schema() -> Schema:
    """Build the schema of a YAML inventory: groups with hosts, vars and children."""
    own = [definition for definition in DEFINITIONS if not definition.mapping]
    return {
        # The draft that editors know best.
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Inventory of orchestrate",
        "type": "object",
        "properties": {"all": _group(_FLEET)},
        "additionalProperties": _reference("group"),
        "definitions": {
            "group": _group(_GROUP),
            "host": _variables(_HOST),
            **{definition.name: _variable(definition) for definition in own},
        },
    }


def _reference(definition: str) -> Schema:
    return {"$ref": f"#/definitions/{definition}"}


def _group(scopes: frozenset[Scope]) -> Schema:
    return {
        "type": ["object", "null"],
        "properties": {
            "hosts": _names("host"),
            "vars": _variables(scopes),
            "children": _names("group"),
        },
        "additionalProperties": False,
    }


def _names(definition: str) -> Schema:
    """Map names to their content; one name alone may be plain text."""
    return {"type": ["object", "string", "null"], "additionalProperties": _reference(definition)}


def _variables(scopes: frozenset[Scope]) -> Schema:
    """Allow every variable of these scopes, and any that isn't named like ours."""
    names = [
        definition.name
        for definition in DEFINITIONS
        if definition.scope in scopes and not definition.mapping
    ]
    return {
        "type": ["object", "null"],
        "properties": {name: _reference(name) for name in names},
        "propertyNames": {"anyOf": [{"not": {"pattern": f"^{PREFIX}"}}, {"enum": names}]},
    }


def _variable(definition: Definition[Any]) -> Schema:
    """Describe a variable; null unsets what a group sets."""
    kind = definition.kind.schema
    keys = [key for key in DEFINITIONS if key.mapping == definition.name]
    if keys:
        mapping = {
            "type": "object",
            "properties": {key.key: _variable(key) for key in keys},
            "required": [key.key for key in keys if key.required],
            "additionalProperties": False,
        }
        kind = {"anyOf": [mapping, kind]}
    return {
        "description": f"{definition.sentence}. Default: {definition.default_words}.",
        "anyOf": [*kind.get("anyOf", [kind]), {"type": "null"}],
    }
