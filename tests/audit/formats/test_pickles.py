import io
import pickle
import struct
from collections import OrderedDict, defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.formats import pickles
from audit.formats.damage import Damage, Kind
from audit.formats.pickle_calls import MOST_UNITS
from audit.formats.pickles import Call, Global, Pickle, load_pickle
from audit.testing.torch_files import Made, Name, pickle_bytes
from tests.examples import examples

keys = st.one_of(st.text(max_size=8), st.integers(-5, 2000), st.none(), st.booleans(), st.tuples(st.integers(0, 9)))
values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(1 << 128), 1 << 128),
        st.floats(allow_nan=False),
        st.text(max_size=20),
        st.binary(max_size=20),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
    ),
    max_leaves=20,
)


def loaded(data: bytes, trailing: bool = False) -> Pickle:
    found = load_pickle(data, trailing)
    assert isinstance(found, Pickle), found
    return found


def damage(data: bytes) -> Damage:
    found = load_pickle(data)
    assert isinstance(found, Damage), found
    return found


@given(values, st.integers(0, 5))
@examples(300)
def test_plain_values_come_back_as_pickle_wrote_them(value: Any, protocol: Any) -> None:
    assert loaded(pickle.dumps(value, protocol)).value == value


@given(values, st.integers(0, 5), st.data())
@examples(400)
def test_damaged_bytes_give_a_value_or_a_damage_and_never_an_exception(value: Any, protocol: Any, data: Any) -> None:
    raw = bytearray(pickle.dumps(value, protocol))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    for piece in (bytes(raw), bytes(raw[:cut])):
        assert isinstance(load_pickle(piece), Pickle | Damage)


@given(st.binary(max_size=200))
@examples(400)
def test_random_bytes_never_raise(raw: Any) -> None:
    assert isinstance(load_pickle(raw + b"."), Pickle | Damage)


@pytest.mark.parametrize("end", range(0, 40, 3))
def test_a_cut_pickle_is_damaged(end: Any) -> None:
    data = pickle.dumps({"state": list(range(10)), "text": "abcdefghij" * 3}, 2)
    assert damage(data[:end]).kind is Kind.MALFORMED


class _Exploit:
    def __reduce__(self) -> Any:
        return (exec, ("raise SystemExit('executed')",))


@pytest.mark.parametrize("protocol", range(6))
def test_a_call_is_named_and_not_made(protocol: Any) -> None:
    found = loaded(pickle.dumps(_Exploit(), protocol))
    assert isinstance(found.value, Call)
    assert found.value.function in ("builtins.exec", "__builtin__.exec")
    assert found.names == (found.value.function,)


def test_names_are_listed_once_and_in_order() -> None:
    data = pickle_bytes([Name("b.c.D"), Name("a.E"), Name("b.c.D")])
    assert loaded(data).names == ("b.c.D", "a.E")
    assert loaded(data).value == [Global("b.c.D"), Global("a.E"), Global("b.c.D")]


@pytest.mark.parametrize("protocol", [2, 4])
def test_an_object_keeps_its_state_beside_its_call(protocol: Any) -> None:
    value = loaded(pickle_bytes(Made("a.B", (1, "x"), {"k": 2}), protocol)).value
    assert (value.function, value.args, value.state) == ("a.B", (1, "x"), {"k": 2})


def test_a_name_inside_a_memo_is_the_name_that_is_used() -> None:
    # "The last two strings before STACK_GLOBAL" would be harmless here.
    data = b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x8c\x05torch\x94\x8c\x06device\x940000h\x00h\x01\x93."
    assert loaded(data).names == ("os.system",)


def test_old_style_instances_are_calls() -> None:
    assert loaded(b"(I1\nios\nsystem\n.").value.function == "os.system"
    assert loaded(b"(cos\nsystem\nI1\no.").value.args == (1,)


def test_containers_of_the_standard_library_become_plain_ones() -> None:
    ordered = OrderedDict([("a", 1), ("b", 2)])
    default = defaultdict(list, {"a": [1]})
    for protocol in range(6):
        assert loaded(pickle.dumps(ordered, protocol)).value == {"a": 1, "b": 2}
        assert loaded(pickle.dumps(default, protocol)).value == {"a": [1]}
        assert sorted(loaded(pickle.dumps({3, 1}, protocol)).value) == [1, 3]
        assert loaded(pickle.dumps(frozenset({3}), protocol)).value == [3]
        assert loaded(pickle.dumps(b"\xff\x00", protocol)).value == b"\xff\x00"


def test_a_list_that_holds_itself_is_read() -> None:
    cycle: list[object] = []
    cycle.append(cycle)
    value = loaded(pickle.dumps(cycle, 2)).value
    assert value[0] is value


def test_half_a_million_nested_tuples_do_not_overflow_the_stack() -> None:
    assert isinstance(loaded(b"\x80\x02)" + b"\x85" * 500_000 + b".").value, tuple)


def test_a_deeply_nested_dictionary_key_is_refused() -> None:
    assert "neither text nor a number" in damage(b"\x80\x02})" + b"\x85" * 100_000 + b"K\x01s.").message


@pytest.mark.parametrize("key", [b"]", b"}", b"\x8f"])
def test_a_dictionary_key_that_cannot_be_hashed_is_refused(key: Any) -> None:
    assert "neither text nor a number" in damage(b"\x80\x02}" + key + b"K\x01s.").message


def test_a_huge_memo_index_allocates_nothing() -> None:
    assert loaded(b"\x80\x02K\x01r\xff\xff\xff\xff.").value == 1


@pytest.mark.parametrize(
    "opcode", [b"X\xff\xff\xff\x7f", b"B\xff\xff\xff\x7f", b"\x8e" + b"\xff" * 8, b"\x95" + b"\xff" * 8]
)
def test_a_length_past_the_end_allocates_nothing(opcode: Any) -> None:
    assert damage(b"\x80\x04" + opcode + b"abc.").kind is Kind.MALFORMED


def test_an_integer_of_thousands_of_bytes_is_oversized() -> None:
    assert damage(pickle.dumps(1 << 20_000, 2)).kind is Kind.OVERSIZED


def test_too_many_instructions_are_oversized(monkeypatch: Any) -> None:
    monkeypatch.setattr(pickles, "FREE_UNITS", 1000)
    assert damage(b"\x80\x02" + b"N0" * 1000 + b"N.").kind is Kind.OVERSIZED


def test_copies_of_one_long_list_count_as_work(monkeypatch: Any) -> None:
    monkeypatch.setattr(pickles, "FREE_UNITS", 10_000)
    pairs = b"](" + b"".join(b"K%c)\x86" % (n % 256) for n in range(500)) + b"eq\x00"
    calls = b"ccollections\nOrderedDict\nh\x00\x85R0" * 100
    assert damage(b"\x80\x02" + pairs + calls + b"N.").kind is Kind.OVERSIZED


class Index:
    """Stands for torch.distributed.checkpoint's MetadataIndex: an object as the key of a dictionary."""


def test_many_objects_as_keys_cost_what_they_are(monkeypatch: Any) -> None:
    """They are hashed by identity, so no file can make them collide; the metadata of a sharded state has thousands."""
    units = []
    for count in (3_000, 30_000):
        found = load_pickle(pickle.dumps({Index(): None for _ in range(count)}), units=MOST_UNITS)
        assert isinstance(found, Pickle), found
        units.append(found.units)

    assert units[1] < 11 * units[0]


def test_keys_with_crafted_hashes_count_as_work(monkeypatch: Any) -> None:
    monkeypatch.setattr(pickles, "FREE_UNITS", 1_000_000)
    same_hash = (1 << 61) - 1
    items = b"".join(b"\x8a\x0c" + (n * same_hash).to_bytes(12, "little") + b"N" for n in range(1, 20_000))
    assert "neither text nor a number" in damage(b"\x80\x02}(" + items + b"u.").message


def test_bytes_after_the_end_are_reported_unless_permitted() -> None:
    data = pickle.dumps(1, 2) + b"xyz"
    assert "3 bytes after the end" in damage(data).message
    assert loaded(data, trailing=True).value == 1


def test_what_a_damaged_pickle_would_have_run_is_named() -> None:
    found = damage(b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R")
    assert found.kind is Kind.UNSAFE
    assert "os.system" in found.message


@pytest.mark.parametrize("name", ["a\x1b[31m", "x" * 600, "\x07"])
def test_a_name_that_is_no_name_is_refused(name: Any) -> None:
    assert damage(b"\x80\x02c" + name.encode() + b"\nf\n.").kind is Kind.MALFORMED


@pytest.mark.parametrize("data", [b"\x80\x02\x82\x01.", b"Pabc\n.", b"\x80\x05\x97.", b"\x80\x07N.", b"\xff."])
def test_what_refers_outside_the_file_is_refused(data: Any) -> None:
    assert damage(data).kind is Kind.MALFORMED


def test_a_tensor_of_unknown_storage_type_is_refused() -> None:
    pid = b"(X\x07\x00\x00\x00storagectorch\nOddStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ."
    assert "unknown type" in damage(b"\x80\x02" + pid).message


def test_numbers_of_every_width_come_back() -> None:
    numbers = [0, 255, 256, 65535, 65536, -1, -(1 << 31), (1 << 31) - 1, 1 << 31, 1 << 128, -(1 << 128), 1.5]
    for protocol in range(6):
        assert loaded(pickle.dumps(numbers, protocol)).value == numbers


def test_a_float_of_protocol_2_is_big_endian() -> None:
    assert loaded(b"\x80\x02G" + struct.pack(">d", 2.5) + b".").value == 2.5


def test_the_pure_python_pickler_is_read_too() -> None:
    file = io.BytesIO()
    pickle._Pickler(file, 4).dump({"a": [1, 2, ("x", None)]})
    assert loaded(file.getvalue()).value == {"a": [1, 2, ("x", None)]}
