"""What `orchestrate plan` says of batches and of what holds a run back."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.cli.plan import describe
from orchestrator.model.plan import Action
from orchestrator.model.policy import Cap, Policy
from orchestrator.model.variant import Variant
from tests.plans import Wanted, make_plan


def test_batches_and_limits_read_as_a_table() -> None:
    """Each batch is a line with its canaries marked, each limit another one below."""
    plan = make_plan(
        Wanted("carbon", canary=True),
        Wanted("boron", batch=1),
        Wanted("neon", action=Action.UNCHANGED),
        Wanted("nitrogen", canary=True),
    )
    policy = Policy(
        batch_pause=90.0,
        caps=(Cap("servers", ("boron", "neon"), 1),),
        max_failures=0,
        max_failures_per_variant={Variant.CPU: 2},
        max_unreachable=3,
    )
    text = describe(replace(plan, policy=policy))
    assert text.partition("\nbatches\n")[2].splitlines() == [
        "  1  carbon (canary), nitrogen (canary)",
        "  2  boron",
        "  between batches: 90 s",
        "  out of service at a time: 1 of servers (boron, neon)",
        "  failed hosts: 0 at most",
        "  unreachable hosts: 3 at most",
        "  failed cpu hosts: 2 at most",
    ]


def test_a_plan_without_work_has_no_batches() -> None:
    """Where nothing moves there is nothing to hold back."""
    assert "batches" not in describe(make_plan(Wanted("neon", action=Action.UNCHANGED)))
