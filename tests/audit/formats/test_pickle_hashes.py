"""Numbers that share one hash: every insertion into a dictionary would walk over all that are in it."""

from audit.formats.damage import Damage, Kind
from audit.formats.pickles import load_pickle

MODULUS = (1 << 61) - 1


def number(value: int) -> bytes:
    raw = value.to_bytes(16, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def test_numbers_that_share_a_hash_are_no_keys() -> None:
    items = b"".join(number(count * MODULUS) + b"N" for count in range(1000))
    found = load_pickle(b"\x80\x02}(" + items + b"u.")
    assert isinstance(found, Damage)
    assert "a key that is neither text nor a number" in found.message


def test_numbers_that_share_a_hash_are_no_keys_inside_tuples_either() -> None:
    for wrapped in (number(MODULUS) + b"\x85", number(-MODULUS) + b"\x85\x85"):
        assert isinstance(load_pickle(b"\x80\x02}" + wrapped + b"Ns."), Damage)


def test_numbers_below_are_keys_as_they_are() -> None:
    found = load_pickle(b"\x80\x02}" + number(MODULUS - 1) + b"Ns" + number(7) + b"K\x08\x86Ns.")
    assert not isinstance(found, Damage)
    assert found.value == {MODULUS - 1: None, (7, 8): None}


def test_one_instruction_that_sets_too_many_items_is_stopped_on_its_way() -> None:
    items = b"".join(b"J" + ((count * 48271) % (1 << 31)).to_bytes(4, "little") + b"N" for count in range(100_000))
    found = load_pickle(b"\x80\x02}(" + items + b"u.")
    assert isinstance(found, Damage)
    assert found.kind is Kind.OVERSIZED


def test_numbers_of_stored_objects_are_not_longer_than_any_pickler_writes_them() -> None:
    for instruction in (b"p", b"g"):
        found = load_pickle(b"N" + instruction + str(MODULUS).encode() + b"\n.")
        assert isinstance(found, Damage)
        assert "stores an object under a number" in found.message


def test_tuples_that_share_a_hash_are_stopped_before_they_cost_time() -> None:
    minus_one, minus_two = b"J\xff\xff\xff\xff", b"J\xfe\xff\xff\xff"  # hash(-1) == hash(-2): all of these collide
    assert hash((-1, -2)) == hash((-2, -1))
    keys = (b"".join(minus_one if n >> bit & 1 else minus_two for bit in range(16)) for n in range(1 << 16))
    found = load_pickle(b"\x80\x02}(" + b"".join(b"(" + key + b"tN" for key in keys) + b"u.")
    assert isinstance(found, Damage)
    assert found.kind is Kind.OVERSIZED


def test_a_few_hundred_tuples_are_keys() -> None:
    items = b"".join(b"K%cK%c\x86N" % (n, m) for n in range(16) for m in range(32))
    found = load_pickle(b"\x80\x02}(" + items + b"u.")
    assert not isinstance(found, Damage)
    assert len(found.value) == 512


def test_strings_count_by_their_length() -> None:
    name = b"a" * 65_000
    text = b"X" + len(name).to_bytes(4, "little") + name
    found = load_pickle(b"](" + text * 470 + b"e.")
    assert not isinstance(found, Damage)
    assert found.units > 470 * 65_000 // 9
