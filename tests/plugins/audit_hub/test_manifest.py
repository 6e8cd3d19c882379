"""The seal in a repository is written as it is read, and what anybody wrote there is taken apart with care."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import AuditError
from audit.ledger.push_events import PushedFile
from audit_hub.manifest import Manifest, read_manifest, stored_name
from tests.examples import examples

ONE = PushedFile(2, "a" * 64, "b" * 64)
GOOD = Manifest("checkpoint-3", 3, 5, {"a/b.bin": ONE, "README.md": ONE})


def test_it_is_read_as_it_was_written() -> None:
    assert read_manifest(GOOD.text(), "here") == GOOD
    assert GOOD.size == 4
    assert set(GOOD.stored()) == {"a/b.bin", "README.md.saved"}


@pytest.mark.parametrize(("name", "step"), [("step_300", 300), ("epoch=2-step=30.ckpt", 30), ("last.ckpt", 7)])
def test_names_of_other_trainers_are_read(name: str, step: int) -> None:
    other = GOOD._replace(checkpoint=name, step=step)
    assert read_manifest(other.text(), "here") == other


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"checkpoint": "checkpoint-4"}, "names no checkpoint"),
        ({"checkpoint": "../checkpoint-3"}, "names no checkpoint"),
        ({"checkpoint": "../x.ckpt"}, "names no checkpoint"),
        ({"checkpoint": "/x.ckpt"}, "names no checkpoint"),
        ({"checkpoint": "best"}, "names no checkpoint"),
        ({"step": "3"}, "names no checkpoint"),
        ({"saved": -1}, "names no checkpoint"),
        ({"files": {}}, "lists no files"),
        ({"files": {"../x": [2, "a" * 64, "b" * 64]}}, "outside of the checkpoint"),
        ({"files": {"/etc/x": [2, "a" * 64, "b" * 64]}}, "outside of the checkpoint"),
        ({"files": {"x": [True, "a" * 64, "b" * 64]}}, "does not describe"),
        ({"files": {"x": [2, "a" * 63, "b" * 64]}}, "does not describe"),
        ({"files": {"x": [2, "a" * 64, "b" * 64], "x/y": [2, "a" * 64, "b" * 64]}}, "a directory as well"),
        ({"files": {"README.md": [2, "a" * 64, "b" * 64], "README.md.saved": [2, "a" * 64, "b" * 64]}}, "one twice"),
        ({"files": {".git/config": [2, "a" * 64, "b" * 64]}}, "cannot be pushed"),
        ({"schema_version": 2}, "another version"),
        ({"files": []}, "not the seal"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    document = {**json.loads(GOOD.text()), **change}

    with pytest.raises(AuditError, match=message):
        read_manifest(json.dumps(document).encode(), "here")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@examples(30)
@given(st.dictionaries(st.sampled_from(["schema_version", "checkpoint", "step", "saved", "files"]), JSON))
def test_any_values_are_a_manifest_or_one_error(change: dict[str, Any]) -> None:
    document = {**json.loads(GOOD.text()), **change}
    try:
        read_manifest(json.dumps(document).encode(), "here")
    except AuditError:
        return


@examples(30)
@given(st.binary(max_size=40))
def test_any_bytes_are_one_error(data: bytes) -> None:
    with pytest.raises(AuditError):
        read_manifest(data, "here")


def test_names_that_mean_something_to_the_hub_are_others_there() -> None:
    assert stored_name("README.md") == "README.md.saved"
    assert stored_name(".gitattributes") == "gitattributes.saved"
    assert stored_name("sub/README.md") == "sub/README.md"
    for name in ("audit-seal.json", ".cache/x", ".git/x", "../x"):
        with pytest.raises(AuditError, match="cannot be pushed"):
            stored_name(name)
