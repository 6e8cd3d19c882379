"""The replay of the ledger's batches against a naive model that writes down every example of every step."""

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.ledger.batch_events import Changed
from audit.ledger.batches import Leg
from audit.ledger.store import Row
from audit.ledger.timeline import Timeline
from audit.ledger.timeline_rows import batch_rows_until, timeline_of
from tests.audit.batch_rows import finished, leg
from tests.examples import examples

Example = tuple[str, int]


class Ledger:
    """Rows in memory, one second apart."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def add(self, event: str, batch: str, **content: Any) -> "Ledger":
        number = len(self.rows) + 1
        time = f"2026-11-21T12:{number // 60:02}:{number % 60:02}Z"
        self.rows.append(
            Row(number, time, "batch", {"event": event, "batch": batch, "file": f"{batch}.jsonl", **content})
        )
        return self

    def leg(self, batch: str, first: int, last: int | None, **content: Any) -> "Ledger":
        return self.add("leg", batch, first_step=first, last_step=last, **content)

    @property
    def timeline(self) -> Timeline:
        return timeline_of(self.rows)


class World:
    """A session as ``audit train`` is one: it knows the timeline and the checkpoints, and nothing else.

    ``trained`` is the naive truth: the examples of each step of the history that holds.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.sizes = dict(sizes)
        self.ledger = Ledger()
        self.saved = [0]
        self.trained: list[list[Example]] = []
        self.rejected: set[str] = set()
        self.lost: set[str] = set()
        self.begun: dict[str, None] = {}

    def go_back(self, to: int) -> None:
        """The guard hands out an older checkpoint; those beyond it are broken."""
        self.saved = [step for step in self.saved if step <= to]

    def next(self, step: int) -> tuple[str, int] | None:
        """What is trained after ``step``: a batch and its first example; as a session finds it out."""
        timeline = self.ledger.timeline
        owner = timeline.owner(step)
        if owner is not None and not owner.whole_at(step):
            return owner.batch, owner.example_at(step)
        again = [item.digest for item in timeline.beyond(step)]
        known = {*again, *(one.digest for one in timeline.batches), *(one.digest for one in timeline.aside)}
        fresh = [name for name in self.sizes if name not in known]
        return next(((name, 0) for name in (*again, *fresh)), None)

    def call(self, per_step: int, every: int, end: str, after: int, lose: bool) -> bool:
        """Train one leg until it ends as ``end`` says, ``after`` so many steps; False where nothing is left."""
        step = self.saved[-1]
        del self.trained[step:]
        found = self.next(step)
        while lose and found is not None and found[0] in self.begun:
            self.lost.add(found[0])
            self.ledger.add("lost", found[0])
            found = self.next(step)
        if found is None:
            return False
        name, first = found
        size = self.sizes[name]
        last = step - (first - size) // per_step
        self.begun[name] = None
        self.ledger.leg(name, step, last, first_example=first, examples=size, examples_per_step=per_step, epochs=1)
        if end == "rejected" and self.trained[-1:] != [] and after % 3:
            end = "killed"  # most bad rows are found before the first step
        stop = last if end == "finished" else min(last, step + after)
        while step < stop:
            step += 1
            self.trained.append([(name, number) for number in range(first, min(first + per_step, size))])
            first += per_step
            if step % every == 0 or step == last or (end == "stopped" and step == stop):
                self.saved.append(step)
        if end == "finished":
            self.saved = sorted({*self.saved, step})
            self.ledger.add("finished", name, last_step=step, examples=size)
            if after % 2:
                self.ledger.add("retired", name, to="done")
        elif end == "rejected":
            self.rejected.add(name)
            self.ledger.add("rejected", name, reason="row 7 is bad", to="rejected")
        elif end in ("stopped", "failed"):
            self.ledger.add(end, name, step=step)
        return True

    def check(self) -> None:
        """The timeline tells of each step that holds which examples were trained in it."""
        timeline = self.ledger.timeline
        if not self.ledger.rows:
            return
        known = self.saved[-1]
        if self.ledger.rows[-1].content["event"] == "rejected":  # what was saved of it is known by the next leg
            known = min(known, self.ledger.rows[-2].content["first_step"])
        for step, trained in enumerate(self.trained[:known]):
            owner = timeline.owner(step)
            assert owner is not None
            told = [(owner.batch, number) for number in range(owner.example_at(step), owner.example_at(step + 1))]
            assert told == trained, step
        for before, after in pairwise(timeline.legs):
            stepless = before.last_step == before.first_step and before.batch != after.batch
            assert before.first_step < after.first_step or (stepless and before.first_step == after.first_step)
        assert {item.batch for item in timeline.legs} == {item.digest for item in timeline.batches}
        assert not {item.digest for item in timeline.batches} & {item.digest for item in timeline.redo}


ENDS = ("finished", "killed", "stopped", "failed", "rejected")
calls = st.tuples(
    st.integers(1, 5), st.integers(1, 6), st.sampled_from(ENDS), st.integers(0, 8), st.integers(0, 5), st.booleans()
)


@examples(80)
@given(
    sizes=st.lists(st.integers(0, 17), min_size=1, max_size=5), plan=st.lists(calls, max_size=14), lossy=st.booleans()
)
def test_every_example_is_trained_once_whatever_happens(
    sizes: list[int], plan: list[tuple[int, int, str, int, int, bool]], lossy: bool
) -> None:
    world = World({f"b{number}": size for number, size in enumerate(sizes)})
    for per_step, every, end, after, back, lose in plan:
        if back >= 3:  # how many checkpoints it goes back
            world.go_back(world.saved[max(0, len(world.saved) - back + 1)])
        world.call(per_step, every, end, after, lossy and lose)
        world.check()
    for _ in range(200):
        if not world.call(3, 2, "finished", 1, False):
            break
        world.check()

    done = [example for step in world.trained for example in step]
    assert max(Counter(done).values(), default=1) == 1
    order = list(dict.fromkeys(name for name, _ in done))
    for name, size in world.sizes.items():
        own = [number for batch, number in done if batch == name]
        assert own == list(range(len(own)))
        if name not in world.rejected | world.lost:
            assert len(own) == size, name
    kept = [item.digest for item in world.ledger.timeline.batches if item.digest in order]
    assert [name for name in kept if name not in world.rejected] == [
        name for name in order if name not in world.rejected
    ]
    if not world.rejected and not world.lost:
        assert order == [name for name, size in world.sizes.items() if size]
        assert world.ledger.timeline.redo == ()


def test_a_killed_leg_is_gone_on_with_where_its_last_checkpoint_is() -> None:
    ledger = Ledger().leg("a", 0, 10, first_example=0, examples=40, examples_per_step=4)
    ledger.leg("a", 6, 10, first_example=24, examples=40, examples_per_step=4)

    owner = ledger.timeline.owner(7)

    assert owner is not None
    assert (owner.batch, owner.example_at(7), owner.whole_at(7), owner.whole_at(10)) == ("a", 28, False, True)
    assert [(item.legs, item.first_step, item.state) for item in ledger.timeline.batches] == [(2, 0, "training")]


def test_batches_behind_a_step_back_come_again_in_their_order() -> None:
    ledger = Ledger()
    for number, name in enumerate("abcd"):
        ledger.leg(name, 10 * number, 10 * number + 10).add("finished", name, last_step=10 * number + 10)
    ledger.leg("a", 5, 10)

    assert [item.digest for item in ledger.timeline.redo] == ["b", "c", "d"]
    assert [item.digest for item in ledger.timeline.beyond(5)] == ["b", "c", "d"]
    assert [item.digest for item in ledger.timeline.batches] == ["a"]

    ledger.add("finished", "a", last_step=10).leg("b", 10, 20).leg("a", 2, 10)
    assert [item.digest for item in ledger.timeline.redo] == ["b", "c", "d"]


def test_a_batch_that_is_rejected_in_its_first_leg_was_never_begun() -> None:
    ledger = Ledger().leg("a", 0, 10).add("finished", "a", last_step=10).leg("b", 10, 20)
    ledger.add("rejected", "b", reason="row 7", to="rejected/b.jsonl")

    owner = ledger.timeline.owner(10)
    assert owner is not None
    assert (owner.batch, owner.whole_at(10)) == ("a", True)
    assert [item.digest for item in ledger.timeline.batches] == ["a"]
    assert [item.reason for item in ledger.timeline.aside] == ["row 7"]

    ledger.leg("c", 10, 20).leg("a", 5, 10)
    assert [item.digest for item in ledger.timeline.redo] == ["c"]


def test_a_batch_that_is_rejected_later_on_is_trained_up_to_there_and_does_not_come_again() -> None:
    ledger = Ledger().leg("a", 0, 10).leg("b", 10, 20).leg("b", 14, 20, first_example=4)
    ledger.add("rejected", "b", reason="row 7")

    owner = ledger.timeline.owner(12)
    assert owner is not None
    assert (owner.batch, owner.whole_at(12)) == ("b", True)

    ledger.leg("c", 14, 20)
    assert [(item.digest, item.state, item.step) for item in ledger.timeline.batches][1] == ("b", "rejected", 14)
    ledger.leg("a", 5, 10)
    assert [item.digest for item in ledger.timeline.redo] == ["c"]


def test_a_rejected_batch_that_is_begun_again_counts() -> None:
    ledger = Ledger().leg("a", 0, 10).add("rejected", "a", reason="too long").leg("a", 0, 10)

    owner = ledger.timeline.owner(3)
    assert owner is not None
    assert not owner.whole_at(3)
    assert [item.state for item in ledger.timeline.batches] == ["training"]


def test_a_batch_without_a_step_stays_where_the_next_one_begins() -> None:
    ledger = Ledger().leg("a", 0, 10).add("finished", "a", last_step=10).leg("empty", 10, 10)
    ledger.add("finished", "empty", last_step=10).leg("b", 10, 20)

    assert ledger.timeline.redo == ()
    assert [item.digest for item in ledger.timeline.batches] == ["a", "empty", "b"]


def test_the_length_is_known_at_the_end_where_the_backend_decides() -> None:
    ledger = Ledger().leg("a", 0, None)
    owner = ledger.timeline.owner(50)
    assert owner is not None
    assert not owner.whole_at(50)

    owner = ledger.add("finished", "a", last_step=37, examples=148).timeline.owner(37)
    assert owner is not None
    assert owner.whole_at(37)
    assert [(item.last_step, item.examples) for item in ledger.timeline.batches] == [(37, 148)]


def test_a_batch_that_ended_before_its_planned_end_is_whole() -> None:
    owner = Ledger().leg("a", 0, 12).add("finished", "a", last_step=10).timeline.owner(10)

    assert owner is not None
    assert owner.whole_at(10)


def test_failures_at_the_same_step_are_counted() -> None:
    ledger = Ledger()
    counted = []
    for step in (7, 7, 9, 9, 9):
        ledger.leg("a", 5, 20).add("failed", "a", step=step, kind="out-of-memory", reason="CUDA out of memory")
        counted.append(ledger.timeline.batches[0].failures)

    assert counted == [1, 2, 1, 2, 3]
    assert ledger.timeline.batches[0].kind == "out-of-memory"


def test_losses_of_several_legs_are_put_together_and_cut_where_the_run_went_back() -> None:
    ledger = Ledger().leg("a", 0, 10).add("stopped", "a", step=6, signal=15, losses=[[2, 3.0], [4, 2.5], [6, 2.0]])
    ledger.leg("a", 4, 10)
    assert list(ledger.timeline.batches[0].losses) == [(2, 3.0), (4, 2.5)]
    ledger.add("finished", "a", last_step=10, losses=[[6, 1.9], [8, 1.8], [10, 1.5]])

    (batch,) = ledger.timeline.batches
    assert batch.losses == ((2, 3.0), (4, 2.5), (6, 1.9), (8, 1.8), (10, 1.5))
    assert (batch.seconds, batch.legs) == (2, 2)  # one second each

    ledger.leg("a", 0, 10)
    assert ledger.timeline.batches[0].losses == ()


def test_a_batch_that_another_one_cuts_short_ends_there() -> None:
    ledger = Ledger().leg("a", 0, 10).add("finished", "a", last_step=10, losses=[[3, 2.0], [9, 1.0]]).add("lost", "a")
    ledger.leg("b", 5, 15)

    first, second = ledger.timeline.batches
    assert (first.state, first.step, first.last_step, first.losses) == ("lost", 5, 5, ((3, 2.0),))
    assert (second.digest, second.first_step) == ("b", 5)


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda values: st.lists(values, max_size=4),
    max_leaves=8,
)
events = st.sampled_from(["leg", "finished", "stopped", "failed", "retired", "rejected", "duplicate", "lost", "new", 3])
steps = st.integers(0, 9) | json
hostile = st.fixed_dictionaries(
    {"event": events, "batch": st.sampled_from(["a", "b", "c"]) | json},
    optional={
        **dict.fromkeys(("first_step", "last_step", "step", "examples", "first_example", "examples_per_step"), steps),
        **dict.fromkeys(("file", "reason", "to", "signal", "kind", "seconds", "epochs"), json),
        "losses": json | st.lists(st.tuples(steps, json).map(list), max_size=4),
    },
)


@examples(100)
@given(contents=st.lists(hostile, max_size=12))
def test_rows_of_any_shape_do_no_harm(contents: list[dict[str, Any]]) -> None:
    timeline = timeline_of(Row(number, "now", "batch", content) for number, content in enumerate(contents, 1))

    for step in (0, 3, 9):
        owner = timeline.owner(step)
        assert owner is None or isinstance(owner.example_at(step), int)
        timeline.beyond(step)


def test_a_long_ledger_is_replayed_without_looking_back_at_all_of_it() -> None:
    ledger = Ledger()
    for number in range(5_000):
        ledger.leg(f"b{number}", number, number + 1)
    for number in range(5_000):
        ledger.leg(f"b{number}", 30_000, 40_000).add("finished", f"b{number}", last_step=30_001)
    ledger.leg("x", 0, 1)

    timeline = ledger.timeline  # each row once: with the square of them the suite would hang here

    assert [item.digest for item in timeline.batches] == ["x"]
    assert len(timeline.redo) == 5_000


def test_the_base_model_of_a_step_is_that_of_the_legs_before_it() -> None:
    rows = [leg("a", 0, 4), {**leg("b", 4, 8), "base": {"weights": "w"}}, finished("b", 4, 8), leg("c", 8, 12)]
    made = timeline_of(Row(number, "now", "batch", content) for number, content in enumerate(rows, 1))

    assert [made.base_at(step) for step in (4, 5, 8, 12)] == [
        None,
        {"weights": "w"},
        {"weights": "w"},
        {"weights": "w"},
    ]


def test_a_setting_is_that_of_the_legs_before_a_step() -> None:
    ledger = Ledger().leg("a", 0, 10).add("finished", "a", last_step=10)
    made = ledger.leg("b", 10, 20, changes={"learning_rate": 0.5}).timeline

    assert [made.settings_at(step) for step in (9, 10, 11)] == [{}, {}, {"learning_rate": 0.5}]
    between = [(0, 10), (9, 10), (10, 11), (9, 11), (11, 20)]
    assert [made.changed_between("learning_rate", *steps) for steps in between] == [False, False, True, True, False]
    assert not made.changed_between("weight_decay", 0, 20)


def test_a_leg_begins_between_two_entries_of_the_log() -> None:
    made = Ledger().leg("a", 0, 10).add("finished", "a", last_step=10).leg("b", 10, 20).timeline

    between = [(1, 10), (5, 11), (10, 11), (11, 30)]
    assert [made.begins_between(*steps) for steps in between] == [False, True, True, False]


def test_examples_are_new_in_the_first_epoch_alone() -> None:
    made = Ledger().leg("a", 0, 10, first_example=0, examples=40, examples_per_step=4, epochs=2).timeline

    assert [made.unseen(step) for step in (1, 5, 6, 10)] == [True, True, False, False]
    for counted in ({}, {"examples": 40}, {"examples_per_step": 4}):  # not enough to count
        assert Ledger().leg("a", 0, 10, epochs=2, **counted).timeline.unseen(9)


def test_what_was_trained_up_to_a_step_is_what_ended_there_or_before() -> None:
    ledger = Ledger().leg("a", 0, 10).add("finished", "a", last_step=10).leg("b", 10, 20)
    made = ledger.add("finished", "b", last_step=20).leg("c", 20, 30).timeline

    assert [[file.digest for file in made.before(step)] for step in (9, 10, 19, 20, 30)] == [
        [], ["a"], ["a"], ["a", "b"], ["a", "b"],
    ]  # fmt: skip


def test_a_batch_has_as_many_rows_of_its_own_as_were_not_replayed() -> None:
    ledger = Ledger().leg("a", 0, 10, first_example=0, examples=40, examples_per_step=4, epochs=2)
    (batch,) = ledger.timeline.batches

    assert [batch._replace(replayed=replayed).rows for replayed in (0, 5, 20, 21)] == [20, 15, 0, 0]
    assert (batch.rows, batch._replace(examples=None).rows) == (20, None)


def test_how_far_a_batch_was_trained_ends_where_another_one_began() -> None:
    counted = {"examples": 40, "examples_per_step": 4}
    ledger = Ledger().leg("a", 0, 10, first_example=0, **counted).add("lost", "a")
    made = ledger.leg("b", 5, 15, first_example=0, **counted).timeline

    assert [found and found[1] for found in (made.trained("a", step) for step in (0, 3, 5, 9))] == [0, 12, 20, 20]
    assert [found and found[1] for found in (made.trained("b", step) for step in (4, 5, 9))] == [None, 0, 16]
    assert made.trained("c", 9) is None


@pytest.mark.parametrize(("signal", "reason"), [(2, "SIGINT"), (15, "SIGTERM"), (9, "a signal"), (None, "a signal")])
def test_what_stopped_a_leg_is_named(signal: int | None, reason: str) -> None:
    (batch,) = Ledger().leg("a", 0, 10).add("stopped", "a", step=6, signal=signal).timeline.batches

    assert (batch.state, batch.reason) == ("stopped", reason)


@pytest.mark.parametrize(
    ("step", "kept"),
    [
        (9, ["leg a"]),
        (10, ["leg a", "finished a", "retired a", "leg b"]),
        (13, ["leg a", "finished a", "retired a", "leg b"]),
        (14, ["leg a", "finished a", "retired a", "leg b", "stopped b", "leg b"]),
        (20, ["leg a", "finished a", "retired a", "leg b", "stopped b", "leg b", "finished b", "leg c"]),
    ],
)
def test_the_rows_of_what_was_trained_up_to_a_step(step: int, kept: list[str]) -> None:
    ledger = Ledger().leg("a", 0, 10).add("finished", "a", last_step=10).add("retired", "a", to="done")
    ledger.leg("b", 10, 20).add("stopped", "b", step=14, signal=15).leg("b", 14, 20)
    ledger.add("finished", "b", last_step=20).leg("c", 20, 30).add("failed", "d", step=3)

    contents = [event.row()[1] for event, _ in batch_rows_until(ledger.rows, step)]

    assert [f"{content['event']} {content['batch']}" for content in contents] == kept


def test_a_loss_that_is_told_twice_is_that_of_the_later_row() -> None:
    ledger = Ledger().leg("a", 0, 10).add("stopped", "a", step=6, signal=15, losses=[[2, 3.0], [4, 2.5], [6, 2.0]])
    ledger.add("finished", "a", last_step=10, losses=[[4, 2.4], [10, 1.5]])

    assert ledger.timeline.batches[0].losses == ((2, 3.0), (4, 2.4), (10, 1.5))


def evaluated(*legs: tuple[int, str | None]) -> Timeline:
    """Legs of ten steps each that begin at a step and are evaluated on a file."""
    return Timeline(tuple(Leg(f"{first}", "a", first, first + 10, 0, 10, 1, held_out=file) for first, file in legs))


def test_a_step_was_evaluated_on_the_file_of_the_leg_that_trained_it() -> None:
    timeline = evaluated((0, "old"), (10, "new"))

    assert [timeline.held_out_at(step) for step in (0, 1, 10, 11, 20, 99)] == [None, "old", "old", "new", "new", "new"]


def test_evaluations_are_comparable_if_they_are_of_the_file_of_the_newest_leg_or_of_that_at_a_step() -> None:
    timeline = evaluated((0, "old"), (10, "middle"), (20, "new"))

    assert [timeline.is_comparable(step) for step in (5, 10, 15, 20, 21)] == [False, False, False, False, True]
    assert [timeline.is_comparable(step, until=20) for step in (5, 10, 11, 20, 21)] == [False, False, True, True, False]
    assert not evaluated((0, None), (10, "new")).is_comparable(5)


def test_where_no_file_is_known_all_evaluations_are_comparable() -> None:
    assert Timeline().is_comparable(5)
    assert evaluated((0, "old"), (10, None)).is_comparable(5)
    assert evaluated((0, None), (10, "new")).is_comparable(15, until=10)


def test_a_changed_setting_is_wanted_from_its_step_on_until_it_is_changed_again() -> None:
    timeline = Timeline(changes=(Changed(10, {"rate": 0.5, "decay": 0.1}), Changed(20, {"rate": 0.25})))

    assert [timeline.wanted_at(step).get("rate") for step in (9, 10, 19, 20)] == [None, 0.5, 0.5, 0.25]
    assert timeline.wanted_at(20) == {"rate": 0.25, "decay": 0.1}


def test_what_follows_a_step_is_neither_lost_nor_without_a_step_there() -> None:
    ledger = Ledger().leg("a", 0, 10).add("finished", "a", last_step=10).leg("b", 10, 20).add("stopped", "b", step=15)
    ledger.add("lost", "b", step=15).leg("c", 15, 25)

    assert [item.digest for item in ledger.timeline.beyond(5)] == ["c"]
    empty = Ledger().leg("a", 0, 10).leg("z", 10, 10).add("finished", "z", last_step=10).leg("b", 10, 20)
    assert [item.digest for item in empty.timeline.beyond(10)] == []


def test_the_last_step_of_a_batch_is_of_its_last_epoch() -> None:
    legs = [Leg("a", "a", 0, 20, 0, 20, 1, epochs=2), Leg("b", "b", 20, 30, 0, 20, 1, epochs=2)]
    timeline = Timeline(tuple(legs))

    assert [timeline.unseen(step) for step in (1, 10, 11, 20, 21)] == [True, True, False, False, True]


def test_a_dropped_file_that_is_trained_after_all_is_dropped_no_longer() -> None:
    ledger = Ledger().leg("a", 0, 10).add("finished", "a", last_step=10).leg("b", 10, 20, rows="of b")
    ledger.add("finished", "b", last_step=20)
    ledger.add("back", "", checkpoint="checkpoint-10", step=10, place="", drop=[["b", "b.jsonl"]])
    assert ledger.timeline.dropped == {"b": "b.jsonl", "of b": "b.jsonl"}

    assert ledger.leg("b", 10, 20, rows="of b").timeline.dropped == {}


def test_steps_are_given_up_until_something_is_trained_again() -> None:
    ledger = Ledger().leg("a", 0, 10).add("finished", "a", last_step=10).leg("b", 10, 20)
    assert not ledger.timeline.is_given_up(20)

    ledger.add("back", "", checkpoint="checkpoint-10", step=10, place="", drop=[]).add("went-back", "", step=10)

    assert [ledger.timeline.is_given_up(step) for step in (10, 11)] == [False, True]
    assert not ledger.leg("c", 10, 20).timeline.is_given_up(11)


def test_a_batch_is_over_when_its_file_is_rejected_later_on() -> None:
    ledger = Ledger().leg("a", 0, 10).leg("b", 10, 20).leg("b", 14, 20, first_example=4)
    assert ledger.timeline.over == frozenset()

    assert ledger.add("rejected", "b", reason="poison", to="b").timeline.over == {"b"}


def test_what_was_adopted_set_aside_or_given_up_is_kept_whatever_its_step_and_going_back_is_done() -> None:
    ledger = Ledger().add("adopted", "", step=99).add("duplicate", "d", reason="again").leg("a", 0, 10)
    ledger.add("back", "", checkpoint="checkpoint-5", step=5, place="", drop=[["a", "a.jsonl"]])
    ledger.add("dropped", "a", to="rejected").add("went-back", "", step=5).leg("b", 5, 15)

    contents = [event.row()[1] for event, _ in batch_rows_until(ledger.rows, 5)]

    told = ["adopted", "duplicate", "leg", "back", "went-back", "dropped", "leg"]
    assert [content["event"] for content in contents] == told


def test_what_is_left_to_drop_is_what_was_not_moved_yet() -> None:
    ledger = Ledger().leg("a", 0, 10)
    ledger.add("back", "", checkpoint="checkpoint-0", step=0, place="", drop=[["a", "a.jsonl"], ["b", "b.jsonl"]])
    ledger.add("rejected", "c", reason="bad")
    returning = ledger.timeline.returning
    assert returning is not None
    assert list(returning.drop) == [("a", "a.jsonl"), ("b", "b.jsonl")]

    returning = ledger.add("dropped", "a", to=None).timeline.returning
    assert returning is not None
    assert list(returning.drop) == [("b", "b.jsonl")]
    assert ledger.add("went-back", "", step=0).timeline.returning is None


def test_a_batch_that_was_never_begun_begins_where_it_is_trained_after_all() -> None:
    ledger = (
        Ledger().leg("a", 0, 10).add("rejected", "a", reason="bad").leg("b", 0, 5).add("finished", "b", last_step=5)
    )

    batch = ledger.leg("a", 5, 15).timeline.batch("a")

    assert batch is not None
    assert (batch.first_step, batch.state) == (5, "training")


def test_a_batch_of_several_files_is_retired_when_all_of_them_are() -> None:
    parts = [["p", "p.jsonl", 9, 2, None], ["q", "q.jsonl", 9, 2, None]]
    ledger = Ledger().leg("a", 0, 10, parts=parts).add("finished", "a", last_step=10).add("retired", "p", to="done/p")
    (batch,) = ledger.timeline.batches
    assert (batch.state, [file.state for file in batch.files]) == ("finished", ["retired", "finished"])

    (batch,) = ledger.add("retired", "q", to=None).timeline.batches
    assert (batch.state, [file.to for file in batch.files]) == ("retired", ["done/p", None])


def test_rows_are_known_again_whatever_the_bytes_of_their_file_once_their_batch_was_trained_to_its_end() -> None:
    ledger = Ledger().leg("a", 0, 10, rows="of a").add("finished", "a", last_step=10).add("retired", "a", to="done/a")
    made = ledger.leg("b", 10, 20, rows="of b").timeline

    found = made.of_rows("of a")
    assert found is not None
    assert found.digest == "a"
    assert [made.of_rows(rows) for rows in ("of b", "of c", None)] == [None, None, None]


def test_an_error_counts_as_known_to_the_batch_whose_first_leg_met_it() -> None:
    ledger = Ledger().leg("a", 0, 10).add("finished", "a", last_step=10)
    made = ledger.leg("b", 10, 20, known=[["x/y", "checkpoint-10", "file.bin"]]).timeline

    assert made.known("a") == ()
    assert len(made.known("b")) == 1


def test_a_batch_whose_file_is_to_be_dropped_does_not_come_again() -> None:
    ledger = Ledger().leg("a", 0, 10).add("finished", "a", last_step=10).leg("b", 10, 20)
    ledger.add("back", "", checkpoint="checkpoint-5", step=5, place="", drop=[["b", "b.jsonl"]])

    assert ledger.leg("a", 5, 10).timeline.redo == ()


def test_a_batch_that_lost_the_second_of_its_two_parts_is_trained_again() -> None:
    ledger = Ledger().leg("a", 0, 20).add("lost", "a").leg("b", 5, 10).add("finished", "b", last_step=10)
    ledger.leg("a", 10, 25)

    assert [item.digest for item in ledger.leg("b", 7, 10).timeline.redo] == ["a"]
