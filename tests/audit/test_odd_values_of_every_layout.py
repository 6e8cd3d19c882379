"""Odd values anywhere in any JSON or torch file of any layout: no rule crashes, whatever a file holds."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.formats.pickles import Pickle, load_pickle
from audit.formats.torch_archive import TorchArchive, read_torch
from audit.storage import BytesReader
from audit.testing.judging import report
from audit.testing.torch_files import Made, pickle_bytes, rebuild, torch_archive_bytes
from tests.audit.test_odd_values import JSON_ONLY, PICKLED, PLAIN
from tests.campaign.layouts import LAYOUTS, copied, made
from tests.examples import TIMES

Place = tuple[Any, ...]
FEW = 6
"""Items of a long list that are tried: the words of a random state are all alike."""
GONE = object()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: made(layout, tmp_path_factory.mktemp(name)) for name, layout in LAYOUTS.items()}


def places(value: Any, place: Place = ()) -> Iterator[Place]:
    """Every place in a value: keys, positions, fields of an object."""
    if place[-1:] != ("args",):  # a pickle calls nothing without a tuple
        yield place
    if isinstance(value, Made):
        inner: Any = value._asdict().items()
    elif isinstance(value, dict):
        inner = value.items()
    else:
        inner = enumerate(value[:FEW]) if type(value) in (list, tuple) else ()
    for key, item in inner:
        if not (isinstance(value, Made) and key == "name"):
            yield from places(item, (*place, key))


def changed(value: Any, place: Place, new: Any) -> Any:
    """A value with another one, or nothing, at a place."""
    if not place:
        return new
    key, *rest = place
    if isinstance(value, Made):
        return value._replace(**{key: changed(getattr(value, key), tuple(rest), None if new is GONE else new)})
    pairs = list(value.items() if isinstance(value, dict) else enumerate(value))
    kept = [
        (name, changed(item, tuple(rest), new) if name is key or name == key else item)
        for name, item in pairs
        if new is not GONE or rest or name != key
    ]
    return dict(kept) if isinstance(value, dict) else type(value)([item for _, item in kept])


def edited(path: Path, data: st.DataObject) -> bytes | None:
    """A file with one odd value in it; None if it holds no values."""
    content = path.read_bytes()
    reader = BytesReader(content)
    if path.suffix == ".json":
        value, odd = json.loads(content), [*PLAIN, *JSON_ONLY]
    else:
        archive, odd = read_torch(reader), [*PLAIN, *PICKLED]
        bare = load_pickle(content)
        if isinstance(archive, TorchArchive):
            value = rebuild(reader, archive, archive.value)
        elif isinstance(bare, Pickle) and not bare.storages:
            value = rebuild(reader, archive, bare.value)  # type: ignore[arg-type]  # there is no tensor in it
        else:
            return None
    place = data.draw(st.sampled_from(list(places(value))))
    value = changed(value, place, data.draw(st.sampled_from([*odd, GONE] if place else odd)))
    if path.suffix == ".json":
        return json.dumps(value).encode()
    return torch_archive_bytes(value, archive.root) if isinstance(archive, TorchArchive) else pickle_bytes(value)


@given(st.data())
@settings(
    max_examples=60 * TIMES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
def test_no_rule_crashes_on_an_odd_value_of_any_layout(
    runs: dict[str, Path], tmp_path: Path, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(list(LAYOUTS)))
    run = copied(runs[name], tmp_path / "run")
    newest = LAYOUTS[name].checkpoints(run)[-1]
    path = data.draw(st.sampled_from(LAYOUTS[name].files(newest)))
    content = edited(path, data)
    if content is not None:
        path.write_bytes(content)

    assert report(str(run), depth=data.draw(st.sampled_from(["quick", "full"]))).crashed == ()
