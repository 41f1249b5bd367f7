"""Quarantine: what failed a smoke test anywhere goes nowhere until a user says so. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.errors import PlanError
from orchestrator.model.stage import Stage
from orchestrator.model.store import store_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.model.facts import Facts
    from orchestrator.model.ledger import Quarantined
    from orchestrator.model.plan import Evaluation
    from orchestrator.model.store import StorePath


def refusal(
    facts: Facts, evaluation: Evaluation, quarantined: Mapping[StorePath, Quarantined]
) -> PlanError | None:
    """Say why a host must not get its new system; None if it may.

    A package that the host runs already is nothing new to it: one machine whose
    GPU broke doesn't keep the others from an unrelated change.

    Args:
        facts: the host's.
        evaluation: what it would get.
        quarantined: what failed a smoke test.
    """
    package = evaluation.llama
    if package is not None and facts.llama_cli.startswith(f"{package}/"):
        package = None
    for path in (evaluation.toplevel, package):
        if path is None or path not in quarantined:
            continue
        known = quarantined[path]
        return PlanError(
            message=f"it would get {store_name(path)}, which failed its smoke test on {known.host}"
            f" in run {known.run}: {known.failure}",
            hint="change it, or pass --again to deploy it anyway",
            host=evaluation.host,
            stage=Stage.PLAN,
            last_lines=(path,),
        )
    return None
