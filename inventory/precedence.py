"""Which value wins if a variable is set in several places.

Ansible's page "Using variables", section "Variable precedence: where should I
put a variable?", and for groups "How variables are merged" of "How to build your
inventory": all, then parents, then children, then the host; at the same depth by
ansible_group_priority and then by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from inventory.group_tree import depths, members
from inventory.source import Group


@dataclass(frozen=True, slots=True)
class Precedence:
    """What each group says, in the inventory file and in `group_vars/`."""

    groups: Mapping[str, Group]
    priorities: Mapping[str, int]
    group_variables: Mapping[str, dict[str, object]]
    group_directory: Mapping[str, dict[str, object]]

    @property
    def everywhere(self) -> dict[str, object]:
        """The variables of the group `all`."""
        return self.of_group("all")

    def of_group(self, name: str) -> dict[str, object]:
        """Return what a group sets itself."""
        return self.group_variables[name] | self.group_directory[name]

    def order(self) -> tuple[tuple[str, frozenset[str]], ...]:
        """List the groups with their hosts, the weakest first.

        Raises:
            InventoryError: the groups form a loop.
        """
        depth = depths(self.groups)
        names = sorted(self.groups, key=lambda name: (depth[name], self.priorities[name], name))
        return tuple((name, frozenset(members(self.groups, name))) for name in names)

    def of_groups(
        self, host: str, order: tuple[tuple[str, frozenset[str]], ...]
    ) -> dict[str, object]:
        """Merge what a host's groups say.

        group_vars/all wins over what the inventory file says of any group:
        that is rule 4 over rule 3 of Ansible's list, and surprises many.
        """
        mine = [name for name, hosts in order if host in hosts]
        merged: dict[str, object] = {}
        for layer in (self.group_variables, self.group_directory):
            for name in mine:
                merged |= layer[name]
        return merged
