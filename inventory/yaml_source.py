"""An inventory written as YAML in Ansible's own shape, read without Ansible.

Shape and precedence follow Ansible's pages "How to build your inventory" and
"Using variables", section "Variable precedence: where should I put a variable?".
Stricter than Ansible in one thing: a key that isn't hosts, vars or children is an
error, while Ansible warns and goes on without what was meant.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from inventory import yaml_file
from inventory.definition import Definition, Scope, Subject
from inventory.host_range import expand, split_port
from inventory.kinds import Integer
from inventory.names import check_address, check_name
from inventory.precedence import Precedence
from inventory.source import Group, NotNativeError, Source
from inventory.suggestion import did_you_mean
from inventory.vars_directory import read_variables
from orchestrator.errors import InventoryError

_SECTIONS = ("hosts", "vars", "children")
PRIORITY = Definition(
    "ansible_group_priority",
    Integer(least=None),
    Subject.GROUPS,
    "Which of two groups of the same depth wins; the one with the higher number",
    default=1,
    scope=Scope.GROUP,
)


@dataclass(slots=True)
class _GroupDraft:
    hosts: dict[str, None] = field(default_factory=dict)
    children: dict[str, None] = field(default_factory=dict)
    variables: dict[str, object] = field(default_factory=dict)
    priority: int = PRIORITY.default


@dataclass(slots=True)
class _Draft:
    """What was read so far; a group or host may be mentioned many times."""

    path: Path
    groups: dict[str, _GroupDraft]
    hosts: dict[str, dict[str, object]] = field(default_factory=dict)

    def group(self, name: object, content: object, above: tuple[str, ...]) -> str:
        """Take in one mention of a group and of everything below it."""
        if not isinstance(name, str):
            raise self.error(
                message=f"group name {name!r} must be text", hint="put it in quotation marks"
            )
        check_name(name, "group name")
        if name in above:
            raise self.error(message=f"group {name!r} is a child of itself")
        draft = self.groups.setdefault(name, _GroupDraft())
        sections = self.mapping(content, f"group {name!r}")
        for key in sections:
            if key not in _SECTIONS:
                raise self.error(
                    message=f"group {name!r} has {key!r}, which is not hosts, vars or children",
                    hint=did_you_mean(str(key), _SECTIONS),
                )
        self.variables(draft, name, sections.get("vars"))
        for child, below in self.names(sections.get("children"), f"children of {name}").items():
            draft.children[self.group(child, below, (*above, name))] = None
        for pattern, found in self.names(sections.get("hosts"), f"hosts of {name}").items():
            self.add_hosts(draft, pattern, found)
        return name

    def variables(self, draft: _GroupDraft, name: str, content: object) -> None:
        """Take in the vars of a group; its priority isn't one of them."""
        found = {str(key): value for key, value in self.mapping(content, f"vars of {name}").items()}
        priority = found.pop(PRIORITY.name, draft.priority)
        if isinstance(priority, bool) or not isinstance(priority, int):
            raise self.error(
                message=f"{PRIORITY.name} of group {name!r} is {priority!r},"
                f" expected {PRIORITY.kind.words}"
            )
        draft.priority = priority
        draft.variables |= found

    def add_hosts(self, draft: _GroupDraft, pattern: object, content: object) -> None:
        """Take in one mention of a host or of a range of hosts."""
        if not isinstance(pattern, str):
            raise self.error(
                message=f"host name {pattern!r} must be text", hint="put it in quotation marks"
            )
        without_port, port = split_port(pattern)
        variables = self.mapping(content, f"host {pattern!r}")
        for name in expand(without_port):
            check_address(name, "host name")
            if name not in self.hosts:
                self.hosts[name] = {} if port is None else {"ansible_port": port}
            self.hosts[name] |= {str(key): value for key, value in variables.items()}
            draft.hosts[name] = None

    def mapping(self, content: object, what: str) -> dict[object, object]:
        """Return a section as a mapping; empty if nothing is written."""
        if content is None:
            return {}
        if isinstance(content, dict):
            return content
        raise self.error(
            message=f"{what} must be a mapping, and is a {type(content).__name__}",
            hint="write `name:` with a colon, one a line, not `- name`",
        )

    def names(self, content: object, what: str) -> dict[object, object]:
        """Return the names of a section with their content; one alone may be plain text."""
        if isinstance(content, str):
            return {content: None}
        return self.mapping(content, what)

    def error(self, *, message: str, hint: str = "") -> InventoryError:
        """Name the file in an error."""
        return InventoryError(message=f"{self.path}: {message}", hint=hint)

    def reconcile(self) -> dict[str, Group]:
        """Hang every group under `all` and every other host under `ungrouped`."""
        everything, ungrouped = self.groups["all"], self.groups["ungrouped"]
        children = {name for group in self.groups.values() for name in group.children}
        top = [name for name in self.groups if name not in children and name != "all"]
        everything.children = dict.fromkeys(["ungrouped", *everything.children, *top])
        grouped = {
            host
            for name, group in self.groups.items()
            if name not in {"all", "ungrouped"}
            for host in group.hosts
        }
        ungrouped.hosts = dict.fromkeys(
            host for host in (*ungrouped.hosts, *self.hosts) if host not in grouped
        )
        return {
            name: Group(tuple(group.hosts), tuple(group.children))
            for name, group in self.groups.items()
        }


def read(path: Path) -> Source:
    """Read a YAML inventory and the vars directories beside it.

    Raises:
        InventoryError: it is malformed or contradicts itself.
        NotNativeError: only Ansible can read it.
    """
    document = yaml_file.load(path)
    draft = _Draft(path, {"all": _GroupDraft(), "ungrouped": _GroupDraft()})
    if not isinstance(document, dict) or not document:
        raise draft.error(message="the inventory must map `all` or group names to their content")
    if "plugin" in document:
        message = f"{path} is the configuration of an inventory plugin"
        raise NotNativeError(message)
    for name, content in document.items():
        draft.group(name, content, ())
    groups = draft.reconcile()
    precedence = Precedence(
        groups=groups,
        priorities={name: group.priority for name, group in draft.groups.items()},
        group_variables={name: group.variables for name, group in draft.groups.items()},
        group_directory={name: read_variables(path.parent / "group_vars", name) for name in groups},
    )
    order = precedence.order()
    return Source(
        path=path,
        base=path.parent,
        groups=groups,
        hosts={
            host: precedence.of_groups(host, order)
            | variables
            | read_variables(path.parent / "host_vars", host)
            for host, variables in draft.hosts.items()
        },
        everywhere=precedence.everywhere,
        group_variables={name: precedence.of_group(name) for name in groups},
    )
