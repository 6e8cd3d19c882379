"""A planned leg against a checkpoint on disk, judged by one rule."""

import os
from collections.abc import Mapping
from typing import Any

import pytest

from audit.backend.training import LegData, LegRequest, Size
from audit.facts.plan import Plan
from audit.facts.run import open_run
from audit.facts.space import Free, Space
from audit.findings import Finding, Outcome, RuleOutcome
from audit.judging.engine import judge
from audit.manager import load

MISSING: Any = object()


class Trainer:
    """A backend that says what a test wants; with ``owned`` it keeps the order of the data itself."""

    name = "made-up"
    title = "made up"
    reads_rows = True

    def __init__(self, owned: bool, arguments: Any, adapter: Any, base_model: Any) -> None:
        self.owns_order = owned
        self.given = arguments
        if adapter is not MISSING:
            self.adapter = lambda settings: adapter
        if base_model is not MISSING:
            self.base_model = lambda settings: base_model

    def arguments(self, request: LegRequest) -> Mapping[str, Any] | None:
        return self.given


class Planned:
    """``judge`` one rule; the outcome is there for rules that say nothing."""

    def __init__(self, rule: str) -> None:
        self.rule = rule
        self.outcome: RuleOutcome | None = None

    def __call__(
        self,
        run: str | None = None,
        *,
        steps: int | None = 10,
        first: int | None = None,
        owned: bool = False,
        arguments: Mapping[str, Any] | None = None,
        adapter: Any = MISSING,
        base_model: Any = MISSING,
        rows: int | None = 100,
        per_step: int | None = 10,
        processes: int | None = 1,
        example: int = 0,
        epochs: int = 1,
        seed: int = 42,
        fresh: bool = False,
        space: Space | None = None,
        settings: Mapping[str, Any] | None = None,
        recorded: Mapping[str, str] | None = None,
        identity: Mapping[str, str] | None = None,
        **thresholds: Any,
    ) -> list[Finding]:
        registry = load()
        newest = open_run(run, registry.backends, depth="quick").checkpoints[-1] if run else None
        done = first if first is not None else newest.step if newest else 0
        request = LegRequest(
            run=run or "nowhere",
            resume_from=None if fresh or not (newest or done) else os.path.join(run or "nowhere", f"checkpoint-{done}"),
            first_step=done,
            last_step=done + steps if steps is not None else None,
            data=LegData("new.jsonl", None, epochs, example),
            settings=settings or {},
            seed=seed,
        )
        trainer: Any = Trainer(owned, arguments, adapter, base_model)
        trainer.base_identity = lambda settings, seed: identity
        plan = Plan(
            request,
            trainer,
            resume=None if fresh else newest,
            sound=newest,
            file="new.jsonl",
            rows=rows,
            per_step=per_step,
            processes=processes,
            recorded_base=recorded,
        )
        plan.ask_space(lambda: space)
        judgement = judge(plan, [registry.rule(self.rule)], {self.rule: thresholds})
        (self.outcome,) = judgement.outcomes
        assert self.outcome.outcome is not Outcome.ERROR, self.outcome.reason
        return list(judgement.findings)

    @property
    def reason(self) -> str:
        """Why the rule had nothing to judge."""
        assert self.outcome is not None
        assert self.outcome.outcome is Outcome.NOT_APPLICABLE
        return self.outcome.reason or ""


@pytest.fixture
def plan(request: pytest.FixtureRequest) -> Planned:
    """Judges by the rule that the test file is named after."""
    name = request.path.stem.removeprefix("test_").replace("_", "-")
    return Planned(f"plan/{name}")


def space(need: int, free: int, *, inodes: int = 10, room: int | None = 1000) -> Space:
    return Space(Size(need, inodes), Free(free, room), Size(100, 5), "as large as the newest one", 9, 3)
