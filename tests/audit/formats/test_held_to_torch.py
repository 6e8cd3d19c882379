"""The reader held to torch's own loader: what ``torch.load(weights_only=True)`` refuses is never sound to us.

Thousands of small archives and pickles; skipped where torch is not installed. With torch 2.13 the whole campaign is
about 110 000 inputs. What we refuse and torch loads is listed in STRICTER, each kind with its reason.
"""

import random
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.formats.damage import Damage
from audit.formats.torch_archive import read_torch
from audit.formats.torch_names import NUMPY_NAMES, TORCH_NAMES, refused_in_torch_file
from audit.storage import BytesReader
from audit.testing.torch_files import zip_bytes
from tests.audit.formats import loader_cases as make
from tests.audit.formats.loader_cases import Case
from tests.examples import examples

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")

STRICTER = {
    r"^is not a valid archive|^has \d+ bytes after the end of its archive|^is truncated|^is not a torch archive": (
        "The archive is not laid out as torch writes it: bytes before, between or after, a header that contradicts the "
        "directory, flags and compression that torch never writes. miniz reads past these; other programs read something else."
    ),
    r"^is not a valid torch archive: it has a record [A-Z.]": "miniz finds records without regard to capitals; nobody writes them.",
    r"^is not a valid torch archive: the storage data/": "A storage name that only differs in capitals.",
    r"^is not a valid torch archive: a tensor of shape": "An empty tensor at an offset past its storage: nothing is read, but nobody writes it.",
    r"^has \d+ bytes after the end of its pickle": "torch stops at STOP and never looks at the rest.",
    r"^is a pickle of the unknown protocol": "torch warns of any protocol but 2 and reads on; Python's pickle refuses these.",
    r"^is not a valid pickle: a dictionary has a key": "Keys that need be hashed at length, and tensors: hashing is bounded here.",
    r"^is not a valid pickle: the arguments of a call": "torch unpacks lists, too; a pickler only ever writes tuples.",
    r"^is not a valid torch file: the shape of a tensor": "torch takes lists and booleans for sizes; it never writes them.",
    r"^is not a valid torch file: a storage of unknown": "torch takes any object for the name of a storage; it writes text.",
    r"^is not a valid pickle: it (sets items|appends)": "On objects that no checkpoint has.",
    r"^is a pickle that|^is not a valid pickle: it names": "Instructions that reach outside, and names that are no names.",
    r"^has an integer of": "No number in a checkpoint is that long; hundreds of digits break whoever computes with them.",
    r"^(has a (tensor|parameter)|names a storage|has a size|makes|calls|gives attributes|names one storage|refers to)": (
        "Calls with arguments that happen to work. Only the shapes that torch writes are known to be right."
    ),
}  # fmt: skip
"""Kinds of what we refuse and torch loads, as our message says it, and why."""


def theirs(data: bytes) -> str | None:
    """What torch has against the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.load(BytesIO(data), weights_only=True, map_location="cpu")
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    return None


def ours(data: bytes) -> str | None:
    """What the reader, or the rule over the names that it read, has against the file."""
    found = read_torch(BytesReader(data), strict=True)
    if isinstance(found, Damage):
        return found.message
    unknown = [name for name in found.names if refused_in_torch_file(name, "")]
    return found.refusal or (f"names {unknown[0]}" if unknown else None)


def compare(cases: Iterable[Case]) -> Counter[str]:
    """Compare both; fail for every file that torch alone refuses. Returns how often each outcome came."""
    counts: Counter[str] = Counter()
    missed, unexplained = [], []
    for label, data in cases:
        torch_says, we_say = theirs(data), ours(data)
        counts[f"torch {'refuses' if torch_says else 'loads'}, we {'refuse' if we_say else 'read'}"] += 1
        if torch_says and not we_say:
            missed.append(f"{label}: {torch_says}")
        if we_say and not torch_says and not any(re.search(kind, we_say) for kind in STRICTER):
            unexplained.append(f"{label}: {we_say}")
    assert not missed, (len(missed), counts, missed[:20])
    assert not unexplained, (len(unexplained), counts, unexplained[:20])
    return counts


def saved(value: Any) -> bytes:
    file = BytesIO()
    torch.save(value, file)
    return file.getvalue()


def bases() -> dict[str, bytes]:
    """Small files that torch saves in checkpoints."""
    parameters = [torch.nn.Parameter(torch.randn(2, 2)) for _ in range(2)]
    optimizer = torch.optim.AdamW(parameters)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return {
        "optimizer": saved(optimizer.state_dict()),
        "scheduler": saved(torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0).state_dict()),
        "weights": saved(torch.nn.Linear(2, 2).state_dict()),
        "tensor": saved({"a": torch.arange(4, dtype=torch.float32)}),
    }


BASES = bases()
RECORDS = make.records_of(BASES["tensor"])
MAIN = next(name for name in RECORDS if name.endswith("/data.pkl"))
FEW, MANY = 150, 4000


def around(bodies: Iterable[Case]) -> Iterator[Case]:
    """Archives with one storage of 16 bytes around each pickle."""
    return ((label, zip_bytes({**RECORDS, MAIN: body})) for label, body in bodies)


def permitted() -> list[str]:
    """The functions that torch permits, those that make tensors and storages of one type represented by one each."""
    names = torch._weights_only_unpickler._get_allowed_globals()
    kept = ("torch.FloatTensor", "torch.FloatStorage", "torch.float32", "torch.uint8", "torch.qint8", "torch.Tensor")
    alike = re.compile(r"torch\.(cuda\.|sparse\.)*\w*(Tensor|Storage|\d|bfloat16|_affine\w*|_symmetric|bool|x2|x4)$")
    return [name for name in sorted(names) if name in kept or not alike.match(name)]


def test_the_names_are_those_that_torch_permits() -> None:
    assert set(torch._weights_only_unpickler._get_allowed_globals()) == TORCH_NAMES


def test_numpy_names_are_those_that_trainer_adds() -> None:
    pytest.importorskip("transformers")
    from transformers.trainer_pt_utils import safe_globals

    added = {
        entry[1] if isinstance(entry, tuple) else f"{entry.__module__}.{entry.__qualname__}"
        for entry in safe_globals().safe_globals
    }
    assert {name for name in added if refused_in_torch_file(name, "rng")} == set()
    assert added & NUMPY_NAMES


@pytest.mark.parametrize("name", BASES)
def test_every_record_of_an_archive(name: str) -> None:
    counts = compare(make.changed_records(BASES[name]))
    assert counts["torch refuses, we refuse"] > 100
    assert counts["torch loads, we read"] > 50


@pytest.mark.parametrize("name", BASES)
def test_changed_bytes_of_an_archive(name: str) -> None:
    compare(make.changed_bytes(BASES[name], random.Random(name), 4 * FEW))


@pytest.mark.parametrize("name", BASES)
def test_changed_instructions_of_a_real_pickle(name: str) -> None:
    body = next(data for record, data in make.records_of(BASES[name]).items() if record.endswith("/data.pkl"))
    mutants = make.changed_instructions(body, random.Random(name), FEW)
    compare((label, make.with_pickle(BASES[name], mutant)) for label, mutant in mutants)


def test_every_instruction_is_tried() -> None:
    import pickletools

    assert {op.name for op in pickletools.opcodes} == set(make.SAMPLES)
    assert all(raw[:1] == op.code.encode("latin-1") for op in pickletools.opcodes for raw in [make.SAMPLES[op.name]])


def test_instructions_text_tensors_and_protocols() -> None:
    counts = compare(around(make.each_instruction()))
    assert counts["torch loads, we read"] >= 25
    compare(around(make.strings()))
    compare(around(make.by_protocol()))
    counts = compare(around(make.tensors()))
    assert counts["torch loads, we read"] > 60


def test_functions_that_torch_permits_with_odd_arguments() -> None:
    generator = random.Random(2)
    compare(around(case for case in make.calls(permitted()) if generator.random() < 0.2))


def test_random_programs() -> None:
    compare(around(make.programs(random.Random(3), 10 * FEW)))


@given(st.lists(st.sampled_from([*make.VALUES.values(), *make.SAMPLES.values()]), min_size=1, max_size=14))
@examples(400)
def test_programs_that_hypothesis_makes(parts: list[bytes]) -> None:
    compare(around([("program", b"\x80\x02" + b"".join(parts) + b".")]))


@pytest.mark.slow
def test_the_whole_campaign(record_property: Any) -> None:
    total: Counter[str] = Counter()
    generator = random.Random(4)
    for data in BASES.values():
        total += compare(make.changed_bytes(data, generator, MANY))
        body = next(record for name, record in make.records_of(data).items() if name.endswith("/data.pkl"))
        mutants = make.changed_instructions(body, generator, MANY // 2)
        total += compare((label, make.with_pickle(data, mutant)) for label, mutant in mutants)
    names = sorted(torch._weights_only_unpickler._get_allowed_globals())
    total += compare(around(make.calls(names)))
    total += compare(around(make.programs(generator, 5 * MANY)))
    record_property("compared", dict(total))
    assert total.total() > 100_000
