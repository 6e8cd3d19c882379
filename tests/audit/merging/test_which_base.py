"""Which base: found by its name in the cache, never by a path in the run; compared with what the ledger records."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from audit.errors import AuditError, RefusedError
from audit.ledger.events import SealedFile
from audit.ledger.records import Records
from audit.manager import load
from audit.merging.which_base import base_path, compare_files, compare_identity, find_base
from tests.audit.merging.models import make_base

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model ``org/tiny`` in a cache of the Hub."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    home = tmp_path / "hub" / "models--org--tiny"
    snapshot = make_base(home / "snapshots" / COMMIT)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(COMMIT)
    return snapshot


def find(**config: Any) -> str:
    return find_base(config, "adapter_config.json", load(), "hf-trainer")


def test_a_name_is_looked_up_in_the_cache_of_the_hub(cached: str) -> None:
    assert find(base_model_name_or_path="org/tiny") == cached
    assert find(base_model_name_or_path="org/tiny", revision=COMMIT) == cached


def test_the_user_may_give_a_path_or_a_name(cached: str, tmp_path: Path) -> None:
    def given(path: str | None) -> str:
        return base_path(path, {"base_model_name_or_path": "org/tiny"}, "x", load(), "hf-trainer")

    assert given("org/tiny") == given(None) == cached
    assert given(str(tmp_path)) == str(tmp_path)
    assert given("org/other") == "org/other"  # read_base says that it is not there


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "names no base model"),
        ({"base_model_name_or_path": "org/other"}, "names the base org/other, which is not in the cache of the Hub"),
        ({"base_model_name_or_path": "org/tiny", "revision": "v2"}, "is not in the cache"),
        ({"base_model_name_or_path": "/etc"}, "names the base /etc; paths in a run are not followed"),
        ({"base_model_name_or_path": "../../secret"}, "paths in a run are not followed"),
        ({"base_model_name_or_path": "here"}, "paths in a run are not followed"),
        ({"base_model_name_or_path": "x" * 999}, "xxx..."),
    ],
)
@pytest.mark.usefixtures("cached")
def test_what_is_not_found_is_asked_for(
    config: dict[str, str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkdir("here")
    with pytest.raises(AuditError, match=re.escape(said)) as raised:
        find(**config)
    assert "--base DIR" in str(raised.value)


def identity(path: str) -> dict[str, str]:
    (trainer,) = [item for item in load().trainers if item.name == "hf-trainer"]
    return dict(trainer.base_identity({"model": {"name_or_path": path}}, 0))  # type: ignore[attr-defined]


def test_the_base_that_was_trained_on_is_the_same_wherever_it_is(tmp_path: Path) -> None:
    recorded = identity(make_base(tmp_path / "then"))
    found = compare_identity(make_base(tmp_path / "now"), recorded, load(), "hf-trainer")
    assert (found.identity, found.notes) == (("config", "tensors", "weights"), ())


@pytest.mark.parametrize("place", [300, 5000, -1])
def test_one_byte_of_the_weights_makes_it_another_base(place: int, tmp_path: Path) -> None:
    base = Path(make_base(tmp_path / "base"))
    recorded = identity(str(base))
    data = bytearray((base / "model.safetensors").read_bytes())
    data[place] ^= 1 if place != 300 else 0
    if place == 300:  # the header: the name of a tensor
        data[data.index(b"q_proj")] = ord("x")
    (base / "model.safetensors").write_bytes(data)

    with pytest.raises(RefusedError, match="is not the base that the adapter was trained on"):
        compare_identity(str(base), recorded, load(), "hf-trainer")


def test_another_configuration_is_another_base_and_a_newer_version_of_transformers_is_not(tmp_path: Path) -> None:
    recorded = identity(make_base(tmp_path / "then"))
    newer = make_base(tmp_path / "newer", transformers_version="9.0")
    assert compare_identity(newer, recorded, load(), "hf-trainer").identity
    with pytest.raises(RefusedError, match=r"other config\.json"):
        compare_identity(make_base(tmp_path / "other", rope_theta=1.0), recorded, load(), "hf-trainer")


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    assert compare_identity(base, None, load(), "hf-trainer") == ((), False, ())
    random = compare_identity(base, {"kind": "random", "seed": "1"}, load(), "hf-trainer")
    assert (random.identity, len(random.notes)) == ((), 1)
    quantised = compare_identity(base, {**identity(base), "quantization": "4bit"}, load(), "hf-trainer")
    assert (len(quantised.identity), len(quantised.notes)) == (3, 1)
    assert compare_identity(base, identity(base), load(), "some-other").identity


def test_files_are_compared_with_the_digests_that_were_recorded() -> None:
    files = {"a": SealedFile(1, "0" * 64)}
    assert not compare_files("base", files, Records(), "run")
    assert compare_files("base", files, Records(base=files), "run")
    for other in ({"a": SealedFile(1, "1" * 64)}, {**files, "b": SealedFile(1, "1" * 64)}, {}):
        with pytest.raises(RefusedError, match="audit seal run --base base"):
            compare_files("base", other, Records(base=files), "run")
