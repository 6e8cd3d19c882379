"""Rows of the ledger as typed values: written as ever, read whatever they hold."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.ledger import back_events, batch_events, events
from audit.ledger.batch_parts import Drawn, Part
from audit.ledger.events import SealedFile, event_of
from audit.ledger.push_events import PushedFile, PushEvent, PushQueued, PushState
from audit.ledger.store import open_ledger

DIGEST = "ad178ce47c90351a4a24278f39adb12605aa9f8dddfb8ab2c9e7f6b0241867b1"

TYPES = (*events.RunEvent.__args__, *PushEvent.__args__, *batch_events.BatchEvent.__args__)
"""All that `events.Event` is, which only a type checker sees."""

ROWS: list[tuple["events.Event", str, str]] = [
    (
        events.Observation(3, "sound", "full", 0, 1, ("checkpoint-3",)),
        "observation",
        '{"checkpoints":["checkpoint-3"],"depth":"full","errors":0,"step":3,"verdict":"sound","warnings":1}',
    ),
    (
        events.Observation(None, "broken", "quick", 2, 0, ()),
        "observation",
        '{"checkpoints":[],"depth":"quick","errors":2,"step":null,"verdict":"broken","warnings":0}',
    ),
    (events.Start(200), "start", '{"step":200}'),
    (
        PushQueued("ab12", "checkpoint-3", 3, "{user}/run-3", "", "main", True, {"a": PushedFile(2, DIGEST)}),
        "push",
        (
            f'{{"branch":"main","checkpoint":"checkpoint-3","files":{{"a":[2,"{DIGEST}"]}},"folder":"","id":"ab12",'
            '"private":true,"read_back":false,"repo":"{user}/run-3","step":3}'
        ),
    ),
    (
        PushState("ab12", "waiting", 2, "2026-11-21T12:30:00Z", "no answer"),
        "push-state",
        '{"id":"ab12","next":"2026-11-21T12:30:00Z","reason":"no answer","state":"waiting","tries":2}',
    ),
    (
        PushState("ab12", "pushed", 3, repo="me/run-3", commit="c0", files={"a": PushedFile(2, DIGEST, DIGEST)}),
        "push-state",
        (
            f'{{"commit":"c0","files":{{"a":[2,"{DIGEST}","{DIGEST}"]}},"id":"ab12","repo":"me/run-3",'
            '"state":"pushed","tries":3}'
        ),
    ),
    (
        events.SealTaken(
            "checkpoint-3", 3, 1790000000000000001, {"b": SealedFile(2, DIGEST), "a": SealedFile(0, DIGEST)}
        ),
        "seal",
        (
            f'{{"algorithm":"blake3","checkpoint":"checkpoint-3","files":{{"a":[0,"{DIGEST}"],"b":[2,"{DIGEST}"]}},'
            '"newest":1790000000000000001,"step":3}'
        ),
    ),
    (
        events.BaseSealed({"b": SealedFile(2, DIGEST), "a": SealedFile(0, DIGEST)}),
        "base",
        f'{{"algorithm":"blake3","files":{{"a":[0,"{DIGEST}"],"b":[2,"{DIGEST}"]}}}}',
    ),
    (
        events.Merged("checkpoint-3", 3, "/models/merged", {"a": SealedFile(0, DIGEST)}),
        "merged",
        (
            f'{{"algorithm":"blake3","checkpoint":"checkpoint-3","files":{{"a":[0,"{DIGEST}"]}},"out":"/models/merged",'
            '"step":3}'
        ),
    ),
    (
        events.ScansRemembered("checkpoint-3", DIGEST, "2026-11-21T12:00:00Z"),
        "scans",
        f'{{"checkpoint":"checkpoint-3","digest":"{DIGEST}","read":"2026-11-21T12:00:00Z"}}',
    ),
    (events.ScansRemembered("checkpoint-3", DIGEST), "scans", f'{{"checkpoint":"checkpoint-3","digest":"{DIGEST}"}}'),
    (
        events.GuardDecision("checkpoint-3", 3, False),
        "guard",
        '{"checkpoint":"checkpoint-3","fresh":false,"step":3}',
    ),
    (events.GuardDecision(None, 0, True), "guard", '{"checkpoint":null,"fresh":true,"step":0}'),
    (
        events.Quarantined("moved", "checkpoint-7", ".audit/quarantine/checkpoint-7", "is broken", None),
        "quarantine",
        (
            '{"action":"moved","checkpoint":"checkpoint-7","place":".audit/quarantine/checkpoint-7","reason":"is broken",'
            '"step":null}'
        ),
    ),
    (
        events.Quarantined("restored", "checkpoint-7", ".audit/quarantine/checkpoint-7", "", 6),
        "quarantine",
        '{"action":"restored","checkpoint":"checkpoint-7","place":".audit/quarantine/checkpoint-7","reason":"","step":6}',
    ),
    (
        events.Pruned("checkpoint-100", 100, 37131),
        "pruned",
        '{"bytes":37131,"checkpoint":"checkpoint-100","pruned":100}',
    ),
    (
        events.Pruned("checkpoint-100", 100, 37131, 0, "me/x@v1"),
        "pruned",
        '{"bytes":37131,"checkpoint":"checkpoint-100","elsewhere":"me/x@v1","left":0,"pruned":100}',
    ),
    (
        events.SnapshotTaken("checkpoint-300", "/data/run", "copy"),
        "snapshot",
        '{"checkpoint":"checkpoint-300","from":"/data/run","how":"copy"}',
    ),
    (
        batch_events.LegBegun(DIGEST, "a.jsonl", 110, 2, 3, 4, 5, 2, 1, f"42:{DIGEST}", 42, 100, 10, 2, "checkpoint-2"),
        "batch",
        (
            f'{{"batch":"{DIGEST}","bytes":110,"decay_steps":10,"epochs":1,"event":"leg","examples":5,"examples_per_step":2,'
            f'"file":"a.jsonl","first_example":4,"first_step":2,"horizon":100,"last_step":3,"order":"42:{DIGEST}",'
            '"processes":2,"resumed_from":"checkpoint-2","seed":42}'
        ),
    ),
    (
        batch_events.LegBegun(
            "b", "a.jsonl", 110, 0, None, 0, None, None, 1, None, 42, None, None, 1, None, {"weights": DIGEST}
        ),
        "batch",
        (
            f'{{"base":{{"weights":"{DIGEST}"}},"batch":"b","bytes":110,"decay_steps":null,"epochs":1,"event":"leg",'
            '"examples":null,"examples_per_step":null,"file":"a.jsonl","first_example":0,"first_step":0,"horizon":null,'
            '"last_step":null,"order":null,"processes":1,"resumed_from":null,"seed":42}'
        ),
    ),
    (
        batch_events.LegBegun("b", "a.jsonl", 110, 0, None, 0, None, None, 1, None, 42, None, None, 1, None),
        "batch",
        (
            '{"batch":"b","bytes":110,"decay_steps":null,"epochs":1,"event":"leg","examples":null,"examples_per_step":null,'
            '"file":"a.jsonl","first_example":0,"first_step":0,"horizon":null,"last_step":null,"order":null,"processes":1,'
            '"resumed_from":null,"seed":42}'
        ),
    ),
    (
        batch_events.Finished("b", "a.jsonl", 0, 3, 5, "checkpoint-3", ((1, 2.5), (3, 2.25)), 0.084),
        "batch",
        (
            '{"batch":"b","checkpoint":"checkpoint-3","event":"finished","examples":5,"file":"a.jsonl","first_step":0,'
            '"last_step":3,"losses":[[1,2.5],[3,2.25]],"seconds":0.084}'
        ),
    ),
    (
        batch_events.Finished("b", "a.jsonl", 0, 3, 5, "checkpoint-3", (), 0.5, {"kind": "pretrained"}),
        "batch",
        (
            '{"base":{"kind":"pretrained"},"batch":"b","checkpoint":"checkpoint-3","event":"finished","examples":5,'
            '"file":"a.jsonl","first_step":0,"last_step":3,"losses":[],"seconds":0.5}'
        ),
    ),
    (
        back_events.GoingBack("checkpoint-2", 2, ".audit/pinned/checkpoint-2", (("b", "a.jsonl"),)),
        "batch",
        '{"checkpoint":"checkpoint-2","drop":[["b","a.jsonl"]],"event":"back","place":".audit/pinned/checkpoint-2","step":2}',
    ),
    (
        batch_events.Changed(2, {"learning_rate": 5e-05}),
        "batch",
        '{"event":"changed","settings":{"learning_rate":5e-05},"step":2}',
    ),
    (back_events.WentBack(2), "batch", '{"event":"went-back","step":2}'),
    (
        back_events.Dropped("b", "a.jsonl", "/data/rejected/a.jsonl"),
        "batch",
        '{"batch":"b","event":"dropped","file":"a.jsonl","to":"/data/rejected/a.jsonl"}',
    ),
    (
        batch_events.Stopped("b", "a.jsonl", 2, 15, ((1, 2.0),)),
        "batch",
        '{"batch":"b","event":"stopped","file":"a.jsonl","losses":[[1,2.0]],"signal":15,"step":2}',
    ),
    (
        batch_events.Failed("b", "a.jsonl", 2, "error", "it burns"),
        "batch",
        '{"batch":"b","event":"failed","file":"a.jsonl","kind":"error","reason":"it burns","step":2}',
    ),
    (
        batch_events.Failed("b", "a.jsonl", 2, "not-proven", "it burns", 0),
        "batch",
        '{"batch":"b","event":"failed","file":"a.jsonl","first_step":0,"kind":"not-proven","reason":"it burns","step":2}',
    ),
    (
        batch_events.Retired("b", "a.jsonl", "done/a.jsonl"),
        "batch",
        '{"batch":"b","event":"retired","file":"a.jsonl","to":"done/a.jsonl"}',
    ),
    (batch_events.Retired("b", "a.jsonl", None), "batch", '{"batch":"b","event":"retired","file":"a.jsonl","to":null}'),
    (
        batch_events.Rejected("b", "a.jsonl", "row 2", "rejected/a.jsonl"),
        "batch",
        '{"batch":"b","event":"rejected","file":"a.jsonl","reason":"row 2","to":"rejected/a.jsonl"}',
    ),
    (
        batch_events.Rejected("b", "a.jsonl", "was taken away"),
        "batch",
        '{"batch":"b","event":"rejected","file":"a.jsonl","reason":"was taken away"}',
    ),
    (
        batch_events.Duplicate("b", "a.jsonl", "the same bytes", "rejected/a.jsonl"),
        "batch",
        '{"batch":"b","event":"duplicate","file":"a.jsonl","reason":"the same bytes","to":"rejected/a.jsonl"}',
    ),
    (
        events.Accepted("loss/jump", "checkpoint-6", 2, "another language"),
        "accepted",
        '{"checkpoint":"checkpoint-6","reason":"another language","rule":"loss/jump","step":2,"until":null}',
    ),
    (
        batch_events.Adopted("b", "a.jsonl", 4),
        "batch",
        '{"batch":"b","event":"adopted","file":"a.jsonl","step":4}',
    ),
    (batch_events.Dissolved("b", "a"), "batch", '{"batch":"b","event":"dissolved","file":"a"}'),
    (
        batch_events.LegBegun(
            "b",
            "a and 1 more",
            9,
            0,
            None,
            0,
            None,
            None,
            1,
            None,
            42,
            None,
            None,
            1,
            None,
            parts=(Part("d", "a", 4, 2, "r"), Part("e", "c", 5, 3, None)),
            replay=(Drawn("f", "z", (0, 7)),),
        ),
        "batch",
        (
            '{"batch":"b","bytes":9,"decay_steps":null,"epochs":1,"event":"leg","examples":null,"examples_per_step":null,'
            '"file":"a and 1 more","first_example":0,"first_step":0,"horizon":null,"last_step":null,"order":null,'
            '"parts":[["d","a",4,2,"r"],["e","c",5,3,null]],"processes":1,"replay":[["f","z",[0,7]]],"resumed_from":null,'
            '"seed":42}'
        ),
    ),
    (
        batch_events.LegBegun(
            "b", "a", 9, 0, None, 0, None, None, 1, None, 42, None, None, 1, None, machine={"torch": "2.13.0"}
        ),
        "batch",
        (
            '{"batch":"b","bytes":9,"decay_steps":null,"epochs":1,"event":"leg","examples":null,"examples_per_step":null,'
            '"file":"a","first_example":0,"first_step":0,"horizon":null,"last_step":null,"machine":{"torch":"2.13.0"},'
            '"order":null,"processes":1,"resumed_from":null,"seed":42}'
        ),
    ),
    (
        events.Rehearsed("checkpoint-3", 3, 5, False, True, DIGEST, "step 4: loss"),
        "rehearsed",
        (
            f'{{"checkpoint":"checkpoint-3","exact":true,"same":false,"seal":"{DIGEST}","step":3,"steps":5,'
            '"text":"step 4: loss"}'
        ),
    ),
    (batch_events.Lost("b", "a.jsonl", 1), "batch", '{"batch":"b","event":"lost","file":"a.jsonl","step":1}'),
]
"""Each as the ledger holds it since its first version: ledgers that are there must be read."""


@pytest.mark.parametrize(("event", "kind", "content"), ROWS)
def test_each_row_is_written_and_read_as_it_always_was(event: "events.Event", kind: str, content: str) -> None:
    written, document = event.row()

    assert (written, json.dumps(document, sort_keys=True, separators=(",", ":"))) == (kind, content)
    assert event_of(kind, json.loads(content)) == event
    assert type(event).read(json.loads(content)) == event


def test_no_kind_of_row_is_left_out_here() -> None:
    assert {type(event) for event, _, _ in ROWS} == set(TYPES)


whole = st.integers(0, (1 << 53) - 1)
some = st.none() | whole
text = st.text(max_size=8)
name = st.text("abc.é \udcff-", min_size=1, max_size=8).filter(lambda found: found not in (".", ".."))
losses = st.lists(st.tuples(whole, st.floats(allow_nan=False, allow_infinity=False)), max_size=3).map(
    lambda pairs: tuple(sorted(pairs, key=lambda pair: pair[0]))
)
sealed = st.builds(SealedFile, whole, st.text("0123456789abcdef", min_size=64, max_size=64))
batch = {"batch": text, "file": name}
written = st.one_of(
    st.builds(events.Observation, st.none() | whole, text, text, whole, whole, st.lists(text, max_size=3).map(tuple)),
    st.builds(events.Start, whole),
    st.builds(events.Rehearsed, text, whole, whole, st.booleans(), st.booleans(), text, text),
    st.builds(events.SealTaken, text, whole, whole, st.none() | st.dictionaries(text, sealed, max_size=3)),
    st.builds(events.ScansRemembered, text, text, st.none() | text),
    st.builds(events.GuardDecision, st.none() | text, whole, st.booleans()),
    st.builds(events.Quarantined, text, text, text, text, some),
    st.builds(events.Pruned, text, whole, whole, some, text),
    st.builds(events.SnapshotTaken, text, text, text),
    st.builds(events.Accepted, text, st.none() | text, some, text, st.none() | text),
    st.builds(batch_events.Adopted, **batch, step=whole),
    st.builds(
        batch_events.LegBegun,
        **batch,
        parts=st.none(),
        replay=st.none(),
        best=st.none() | st.tuples(whole, st.floats(allow_nan=False, allow_infinity=False)),
        bytes=whole,
        first_step=whole,
        last_step=some,
        first_example=whole,
        examples=some,
        examples_per_step=st.none() | st.integers(1, 99),
        epochs=st.integers(1, 99),
        order=st.none() | text,
        seed=st.integers(),
        horizon=st.none() | st.integers(1, 99),
        decay_steps=st.none() | st.integers(1, 99),
        processes=st.integers(1, 99),
        resumed_from=st.none() | text,
        base=st.none() | st.dictionaries(text, text, min_size=1, max_size=2),
        known=st.none() | st.lists(st.tuples(text, st.none() | text, some), max_size=3).map(tuple),
        changes=st.none() | st.dictionaries(text, st.floats(0, 9), min_size=1, max_size=2),
        held_out=st.none() | text,
        machine=st.none() | st.dictionaries(text, text, min_size=1, max_size=2),
    ),
    st.builds(batch_events.Changed, whole, st.dictionaries(text, st.floats(0, 9), min_size=1, max_size=2)),
    st.builds(
        lambda step, place, drop: back_events.GoingBack(f"checkpoint-{step}", step, place, drop),
        whole,
        text,
        st.lists(st.tuples(text, batch["file"]), max_size=2).map(tuple),
    ),
    st.builds(back_events.WentBack, whole),
    st.builds(back_events.Dropped, **batch, to=st.none() | text),
    st.builds(
        batch_events.Finished,
        **batch,
        first_step=whole,
        last_step=some,
        examples=some,
        checkpoint=text,
        losses=losses,
        seconds=st.floats(0, 1e9),
        base=st.none() | st.dictionaries(text, text, min_size=1, max_size=2),
    ),
    st.builds(batch_events.Stopped, **batch, step=some, signal=st.none() | st.integers(), losses=losses),
    st.builds(
        batch_events.Failed,
        **batch,
        step=some,
        kind=st.none() | text,
        reason=st.none() | text,
        first_step=st.none() | whole,
    ),
    st.builds(batch_events.Retired, **batch, to=st.none() | text),
    st.builds(batch_events.Rejected, **batch, reason=st.none() | text, to=st.none() | text),
    st.builds(batch_events.Duplicate, **batch, reason=st.none() | text, to=st.none() | text),
    st.builds(batch_events.Lost, **batch, step=some),
    st.builds(batch_events.Dissolved, **batch),
)


@given(written)
def test_what_is_written_is_what_is_read(event: "events.Event") -> None:
    kind, content = event.row()
    stored = json.loads(json.dumps(content, allow_nan=False))

    if isinstance(event, events.SealTaken) and event.files is None:
        assert event_of(kind, stored) == event._replace(step=0, newest=0)
    else:
        assert event_of(kind, stored) == event


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["a", DIGEST, 10**400]),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values, max_size=2),
    max_leaves=6,
)
KINDS = ["observation", "start", "seal", "scans", "guard", "quarantine", "pruned", "snapshot", "batch", "new"]
NAMES = sorted({key for event, _, _ in ROWS for key in event.row()[1]})
EVENTS = ["leg", "finished", "stopped", "failed", "retired", "rejected", "duplicate", "lost", "new"]
objects = st.dictionaries(st.sampled_from(NAMES) | text, anything, max_size=9)


@given(st.sampled_from(KINDS), objects, st.none() | st.sampled_from(EVENTS), st.none() | st.just("digest of a batch"))
def test_any_object_is_an_event_or_none(kind: str, content: dict[str, Any], event: str | None, of: str | None) -> None:
    document = {**content, **({"event": event} if event else {}), **({"batch": of} if of else {})}

    found = event_of(kind, document)

    assert found is None or isinstance(found, TYPES)
    if found is not None:
        json.dumps(found.row()[1])  # and what was read can be written
    for made in TYPES:
        assert made.read(document) is None or isinstance(made.read(document), made)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("new", {"step": 1}),
        ("start", {"step": -1}),
        ("guard", {"step": True}),
        ("pruned", {"pruned": "100"}),
        ("seal", {"checkpoint": 1}),
        ("scans", {"checkpoint": ["checkpoint-1"]}),
        ("batch", {"event": "new", "batch": "b"}),
        ("batch", {"event": ["leg"], "batch": "b"}),
        ("batch", {"event": "finished", "batch": 1}),
        ("batch", {"event": "leg", "batch": "b"}),
        ("batch", {"event": "leg", "batch": "b", "first_step": 1 << 53}),
    ],
)
def test_a_row_without_what_it_needs_is_passed_over(kind: str, content: dict[str, Any]) -> None:
    assert event_of(kind, content) is None


def test_a_file_of_a_batch_is_a_name_and_never_a_path() -> None:
    row = {"event": "retired", "batch": "b", "file": "../../etc/passwd\0"}

    assert event_of("batch", row) == batch_events.Retired("b", "passwd", None)


def test_a_misspelt_or_missing_value_makes_no_row() -> None:
    with pytest.raises(TypeError):
        events.Start(steps=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        events.Pruned("checkpoint-1", 1)  # type: ignore[call-arg]


def test_the_ledger_takes_nothing_but_events(tmp_path: Path) -> None:
    ledger = open_ledger(str(tmp_path), write=True)
    assert ledger is not None

    with pytest.raises(AttributeError):
        ledger.append({"step": 1})  # type: ignore[arg-type]
    ledger.append(events.Start(1))

    assert [row.event for row in ledger.rows()] == [events.Start(1)]
    ledger.close()
