"""Who moves after whom: batches as Ansible's, canaries before the rest, groups in order."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory.host import Connection, Fleet, Host, Inventory
from inventory.rollout import Rollout, Size
from orchestrator.model.plan import Action, HostPlan
from orchestrator.model.policy import Cap, Policy
from orchestrator.model.variant import Variant
from orchestrator.stages.plan.batches import batches_of, in_batches, policy_of
from tests.plans import Wanted, host_plan, make_plan

FOUR = (
    Wanted("carbon", llama="cpu", groups=("laptops",)),
    Wanted("beryllium", llama="cpu", groups=("laptops",)),
    Wanted("boron", llama="cpu", groups=("servers",)),
    Wanted("nitrogen", llama="cuda", variant=Variant.CUDA, groups=("workstations",)),
)


def batched(rollout: Rollout, *wanted: Wanted) -> list[list[str]]:
    """Give the names of each batch, canaries with a star."""
    hosts = in_batches([host_plan(host) for host in wanted], rollout)
    moving = [host for host in hosts if host.action is Action.DEPLOY]
    numbers = sorted({host.batch for host in moving})
    assert numbers == list(range(len(numbers)))
    return [
        [host.name + "*" * host.canary for host in moving if host.batch == number]
        for number in numbers
    ]


@pytest.mark.parametrize(
    ("count", "serial", "sizes"),
    [
        (5, ["100%"], [5]),
        (5, [1], [1, 1, 1, 1, 1]),
        (5, [2], [2, 2, 1]),
        (10, [1, 5], [1, 5, 4]),
        (10, [1, 5, "20%"], [1, 5, 2, 2]),
        (10, ["30%"], [3, 3, 3, 1]),
        (10, ["10%", "20%", "100%"], [1, 2, 7]),
        (100, ["29%", "100%"], [29, 71]),
        (8, [1, "25%", "100%"], [1, 2, 5]),
        (3, ["10%"], [1, 1, 1]),
        (0, [1], []),
    ],
)
def test_batches_are_ansibles(count: int, serial: list[Size], sizes: list[int]) -> None:
    """Numbers or percentages of the whole, the last one repeated, never an empty batch."""
    hosts = [host_plan(Wanted(f"h{number}")) for number in range(count)]
    batches = batches_of(hosts, serial, None)
    assert [len(batch) for batch in batches] == sizes
    assert [host for batch in batches for host in batch] == hosts


@pytest.mark.parametrize(
    ("rollout", "expected"),
    [
        (Rollout(), [["carbon*", "nitrogen*"], ["beryllium", "boron"]]),
        (Rollout(canary=False), [["carbon", "beryllium", "boron", "nitrogen"]]),
        (Rollout(serial=(1, "100%")), [["carbon*"], ["beryllium", "boron", "nitrogen*"]]),
        (Rollout(serial=(2,)), [["carbon*", "nitrogen*"], ["beryllium", "boron"]]),
        (
            Rollout(order=("workstations", "servers")),
            [["nitrogen*"], ["boron*"], ["carbon", "beryllium"]],
        ),
        (
            Rollout(serial=("50%",), order=("laptops",)),
            [["carbon*"], ["beryllium"], ["boron"], ["nitrogen*"]],
        ),
        (Rollout(order=("all",)), [["carbon*", "nitrogen*"], ["beryllium", "boron"]]),
    ],
)
def test_canaries_and_groups_make_the_batches(rollout: Rollout, expected: list[list[str]]) -> None:
    """A package's first host goes a batch ahead of its others; groups follow one another."""
    assert batched(rollout, *FOUR) == expected


def test_ungrouped_is_a_group_to_order_by() -> None:
    """Hosts in no group are those of `ungrouped`, and can be named first."""
    rollout = Rollout(order=("ungrouped",), canary=False)
    assert batched(rollout, Wanted("a", groups=("g",)), Wanted("b")) == [["b"], ["a"]]


def test_one_variant_built_twice_has_two_canaries() -> None:
    """Hosts of one variant whose llama.cpp differs prove nothing for each other."""
    hosts = (Wanted("a", llama="x"), Wanted("b", llama="y"), Wanted("c", llama="x"))
    assert batched(Rollout(), *hosts) == [["a*", "b*"], ["c"]]


def test_an_unchanged_host_is_nobodys_canary() -> None:
    """A host that doesn't move takes no place, and tries nothing for others."""
    unchanged = Wanted("a", action=Action.UNCHANGED)
    assert batched(Rollout(), unchanged, Wanted("b"), Wanted("c")) == [["b*"], ["c"]]


sizes = st.integers(1, 5) | st.integers(1, 100).map(lambda part: f"{part}%")
rollouts = st.builds(
    Rollout,
    serial=st.lists(sizes, min_size=1, max_size=3).map(tuple),
    canary=st.booleans(),
    order=st.lists(st.sampled_from(["x", "y"]), max_size=2, unique=True).map(tuple),
)
fleets = st.lists(
    st.builds(
        Wanted,
        name=st.integers(0, 99).map(lambda number: f"h{number}"),
        llama=st.sampled_from(["cpu", "cuda", "rocm"]),
        groups=st.sets(st.sampled_from(["x", "y"])).map(tuple),
    ),
    max_size=12,
    unique_by=lambda host: host.name,
)


@given(rollouts, fleets)
def test_batches_keep_every_rule(rollout: Rollout, wanted: list[Wanted]) -> None:
    """Every host is in one batch; canaries and earlier groups are in earlier ones."""
    before = [host_plan(host) for host in wanted]
    hosts = in_batches(before, rollout)
    assert [replace(host, batch=0, canary=False) for host in hosts] == before
    assert {host.batch for host in hosts} == set(range(len({host.batch for host in hosts})))
    for host in hosts:
        others = [other for other in hosts if other.package == host.package and other != host]
        if rollout.canary:
            assert host.canary == all(other.batch > host.batch for other in others)
        assert all(
            other.batch > host.batch
            for other in hosts
            if rank(other, rollout) > rank(host, rollout)
        )


def rank(host: HostPlan, rollout: Rollout) -> int:
    """Give the place of a host's first group in the order."""
    places = [place for place, name in enumerate(rollout.order) if name in host.target.groups]
    return min(places, default=len(rollout.order))


def test_a_policy_has_numbers() -> None:
    """Percentages count the moving hosts, those of a variant, or a group's targets."""
    rollout = Rollout(
        serial=(1,),
        batch_pause=30.0,
        max_unavailable={"all": "50%", "servers": 1, "small": "10%", "empty": 1},
        max_failures="25%",
        max_failures_per_variant="50%",
        max_unreachable="20%",
    )
    names = ("carbon", "beryllium", "boron", "nitrogen", "forge")
    targets = tuple(
        Host(name, Connection(name), nixos_name=name, deploy=name != "forge") for name in names
    )
    groups = {
        "all": names,
        "servers": ("boron", "forge"),
        "small": ("boron", "carbon"),
        "empty": ("forge",),
    }
    inventory = Inventory("hosts.yml", targets, groups, Fleet(rollout=rollout))
    policy = policy_of([host_plan(host) for host in FOUR], inventory, ("gone",))
    assert policy == Policy(
        serial=(1,),
        canary=True,
        batch_pause=30.0,
        caps=(
            Cap("all", names[:4], 2),
            Cap("servers", ("boron",), 1),
            Cap("small", ("carbon", "boron"), 1),
        ),
        max_failures=1,
        max_failures_per_variant={Variant.CPU: 1, Variant.CUDA: 0},
        max_unreachable=1,
    )
    plan = replace(make_plan(*FOUR), policy=policy)
    assert msgspec.json.decode(msgspec.json.encode(plan), type=type(plan)) == plan
