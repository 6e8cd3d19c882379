"""Digests of a file and its tensors in one pass."""

import pytest
from blake3 import blake3

from audit.errors import AuditError
from audit.formats.damage import Damage
from audit.formats.safetensors import read_safetensors
from audit.merging import digests
from audit.merging.digests import digest_of, digests_of, tensor_digest
from audit.storage import BytesReader
from audit.testing.json_files import safetensors_bytes
from tests.audit.merging.models import base_tensors


def test_the_file_and_each_tensor_have_the_digest_of_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "BLOCK", 100)
    tensors = base_tensors()
    data = safetensors_bytes(tensors)
    header = read_safetensors(BytesReader(data))
    assert not isinstance(header, Damage)
    told: list[int] = []

    found = digests_of(BytesReader(data), header.tensors.values(), told.append)

    assert found.file == (len(data), blake3(data).hexdigest())
    assert found.file == digest_of(BytesReader(data))
    assert found.tensors == {name: blake3(item.data).hexdigest() for name, item in tensors.items()}
    assert {name: tensor_digest(BytesReader(data), item) for name, item in header.tensors.items()} == found.tensors
    assert sum(told) == len(data)


def test_a_file_that_becomes_shorter_is_one_line() -> None:
    reader = BytesReader(b"12345")
    reader.size = 10
    with pytest.raises(AuditError, match="became shorter"):
        digest_of(reader)
