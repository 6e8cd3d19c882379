"""A leg is worked out from the file, the ledger and the configuration: order, epochs, steps, schedule."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from audit.errors import AuditError
from audit.ledger.batches import Leg
from audit.ledger.store import Row
from audit.ledger.timeline import Timeline
from audit.ledger.timeline_rows import timeline_of
from audit.training.config import read_train_config
from audit.training.data_files import DataFile, DataFiles, digest_of, seen
from audit.training.drafting import Drafting, Work
from audit.training.run_state import TrainRefused
from tests.audit.batch_rows import append
from tests.audit.training.conftest import Shop, legs

Make = Callable[..., Shop]


def test_each_epoch_has_an_order_of_its_own_that_is_the_same_each_time(make_shop: Make, tmp_path: Path) -> None:
    def once(name: str) -> list[int]:
        shop = Shop(tmp_path / name, data="epochs = 2")
        shop.drop("a.jsonl", list(range(8)))
        shop.train()
        return shop.trained()

    first = once("first")
    assert sorted(first[:8]) == sorted(first[8:]) == list(range(8))
    assert first[:8] != first[8:]
    assert once("second") == first


def test_the_order_of_the_file_is_kept_if_asked_for(make_shop: Make) -> None:
    shop = make_shop(data="shuffle = false")
    shop.drop("a.jsonl", [3, 1, 2])
    shop.train()
    assert shop.trained() == [3, 1, 2]


def test_a_changed_batch_size_in_the_middle_of_a_batch_loses_no_example(shop: Shop) -> None:
    shop.drop("a.jsonl", list(range(11)))
    shop.backend.stop_after = 2
    shop.train()
    config = shop.home / "train.toml"
    config.write_text(config.read_text().replace("per_step = 2", "per_step = 3"))
    shop.backend.stop_after = None
    assert shop.train() == 0
    assert sorted(shop.trained()) == list(range(11))


def test_a_horizon_that_a_batch_would_pass_is_refused(make_shop: Make) -> None:
    shop = make_shop(more="[schedule]\ntotal_steps = 3")
    shop.drop("a.jsonl", [1, 2, 3, 4])
    shop.drop("b.jsonl", [5, 6, 7, 8])
    with pytest.raises(TrainRefused, match=r"b\.jsonl: would be trained to step 4, but the schedule ends at step 3"):
        shop.train()
    assert shop.names("done") == ["a.jsonl"]
    assert shop.names("inbox") == ["b.jsonl"]


def test_a_file_whose_examples_are_not_those_in_the_ledger_is_not_trained(shop: Shop) -> None:
    shop.drop("a.jsonl", list(range(8)))
    shop.backend.stop_after = 2
    shop.train()
    shop.backend.stop_after = None
    (leg,) = legs(shop)
    append(str(shop.run), ("batch", {**leg, "examples": 10**9}))
    with pytest.raises(AuditError, match=r"a\.jsonl: has 8 examples, but the ledger says 1000000000"):
        shop.train()


# -- One leg by itself ------------------------------------------------------------------------------------------------


def drafting(shop: Shop, **options: Any) -> Drafting:
    config, trainer = read_train_config(str(shop.home / "train.toml"), shop.registry)
    return Drafting(config, trainer, DataFiles(config.data), 1, options.pop("decay", False), **options)


def file_at(path: Path) -> tuple[DataFile, str]:
    found = seen(str(path), path.name)
    assert found is not None
    return found, digest_of(found)


def drafted(shop: Shop, path: Path, timeline: Timeline = Timeline(), step: int = 0, **options: Any) -> Work:  # noqa: B008
    file, digest = file_at(path)
    return drafting(shop, **options).draft(timeline, file, digest, step, None, None)


def test_the_data_file_of_a_batch_is_where_the_user_put_it(shop: Shop) -> None:
    path = shop.drop("a.jsonl", [1, 2, 3])

    work = drafted(shop, path)

    assert work.paths == {str(path)}
    assert (work.examples, work.request.last_step, work.begun) == (3, 2, 0)


def test_the_data_files_of_a_group_are_all_of_them(shop: Shop) -> None:
    files = [file_at(shop.drop(f"{name}.jsonl", [1, 2])) for name in "ab"]
    draft = drafting(shop)
    group = tuple(draft.source(file, digest) for file, digest in files)

    work = draft.draft_group(Timeline(), group, 0, None, None)

    assert work.paths == {file.path for file, _ in files}
    assert (work.file.name, work.examples, work.request.last_step) == ("a.jsonl and 1 more", 4, 2)


@pytest.mark.parametrize(
    ("name", "examples"), [("a.jsonl", 3), ("A.JSONL", 3), ("a.txt", None), ("a.json", None), ("a.bin", None)]
)
def test_where_the_backend_reads_the_rows_only_those_of_known_formats_are_counted(
    name: str, examples: int | None, shop: Shop
) -> None:
    shop.backend.reads_rows = False
    path = shop.drop(name, [1, 2, 3]) if name != "a.json" else shop.inbox / name
    if name == "a.json":
        path.write_text("3")  # a document that the launcher may know how to read

    work = drafted(shop, path)

    assert (work.examples, work.rows) == (examples, None)
    assert work.request.last_step == (2 if examples else None)


def test_where_the_backend_does_not_count_steps_no_rows_are_counted(make_shop: Make) -> None:
    shop = make_shop(toy="per_step = 0")
    shop.backend.reads_rows = False

    work = drafted(shop, shop.drop("a.jsonl", [1, 2, 3]))

    assert (work.examples, work.request.last_step) == (None, None)


def test_rows_are_trained_once_in_each_epoch(make_shop: Make) -> None:
    shop = make_shop(data="epochs = 2")
    path = shop.drop("a.jsonl", [1, 2, 3])
    assert drafted(shop, path).examples == 6

    shop.backend.reads_rows = False
    assert (drafted(shop, path).examples, drafted(shop, path).request.last_step) == (6, 3)


def begun_with(examples: int | None) -> tuple[Leg, int]:
    return Leg("ab", "a.jsonl", 0, None, 0, examples, 2), 2


@pytest.mark.parametrize("reads_rows", [True, False])
def test_a_file_that_has_other_rows_than_the_ledger_says_is_not_gone_on_with(reads_rows: bool, shop: Shop) -> None:
    shop.backend.reads_rows = reads_rows
    file, digest = file_at(shop.drop("a.jsonl", [1, 2, 3]))

    with pytest.raises(AuditError, match=r"a\.jsonl: has 3 examples, but the ledger says 4"):
        drafting(shop).draft(Timeline(), file, digest, 1, None, begun_with(4))
    work = drafting(shop).draft(Timeline(), file, digest, 1, None, begun_with(3))
    assert (work.request.data.first, work.request.last_step) == (2, 2)


def test_what_was_not_counted_when_a_batch_began_is_not_held_against_it(shop: Shop) -> None:
    shop.backend.reads_rows = False
    file, digest = file_at(shop.drop("a.jsonl", [1, 2, 3]))

    work = drafting(shop).draft(Timeline(), file, digest, 1, None, begun_with(None))

    assert (work.examples, work.request.last_step) == (None, None)


def test_a_setting_is_changed_where_a_batch_goes_on_from_a_checkpoint(make_shop: Make) -> None:
    shop = make_shop(toy="rate = 0.5")
    file, digest = file_at(shop.drop("a.jsonl", [1, 2, 3]))
    draft = drafting(shop, change=("rate",))

    def changes(checkpoint: str | None, past: tuple[Leg, int] | None = None) -> Mapping[str, float]:
        return draft.draft(Timeline(), file, digest, 1, checkpoint, past).request.changes

    assert changes("checkpoint-1") == {"rate": 0.5}
    assert changes(None) == {}  # it begins with the setting of the configuration
    assert changes("checkpoint-1", begun_with(3)) == {}  # in the middle of a batch nothing changes


def test_rows_of_another_format_are_not_replayed(make_shop: Make) -> None:
    shop = make_shop(data="replay = 1.0")
    done = shop.home / "done"
    done.mkdir()
    timeline_rows = []
    for number, (name, text) in enumerate([("ids.jsonl", '{"input_ids": [9, 9]}'), ("text.jsonl", '{"text": "a"}')]):
        (done / name).write_text(f"{text}\n" * 4)
        batch = file_at(done / name)[1]
        told = {"batch": batch, "file": name, "first_step": 2 * number, "last_step": 2 * number + 2}
        begun = {"event": "leg", **told, "examples": 4, "examples_per_step": 2}
        timeline_rows += [begun, {"event": "finished", **told}, {"event": "retired", **told, "to": str(done / name)}]
    timeline = timeline_of(Row(1, "2026-11-21T12:00:00Z", "batch", content) for content in timeline_rows)

    work = drafted(shop, shop.drop("new.jsonl", list(range(8))), timeline, 4)

    assert [drawn.file for drawn in work.drawn] == ["ids.jsonl"]
    assert [source.file.name for source in work.sources] == ["new.jsonl", "ids.jsonl"]
    assert work.replayed == 4
    assert work.examples == 12
