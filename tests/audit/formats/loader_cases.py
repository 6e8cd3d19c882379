"""Small archives and pickles of all kinds, for test_held_to_torch: real ``torch.save`` output, changed."""

import pickle
import pickletools
import random
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Iterator
from io import BytesIO
from struct import pack
from typing import Any

from audit.testing.torch_files import zip_bytes

Case = tuple[str, bytes]
"""What was done, and the archive."""

CONTENTS = (
    b"", b"0", b"1", b"2", b"3", b"3\n", b" 3", b"+3", b"-3", b"3x", b"x3", b"0x3", b"10", b"11", b"999", b"3.5",
    b"99999999999999999999", b"text", b"\0", b"3\0", b"\xff\xfe", b"little", b"big", b"BIG", b"little\n", b"middle",
    b"64", b" 64 ", b"6_4", b"_64", b"-64", b"64\n", b"1e3",
)  # fmt: skip
EXTRA = (
    "constants.pkl", "CONSTANTS.PKL", "code/model.py", "version", "VERSION", ".data/version", "Data.pkl", "data/0",
    "data/99", "data/", "attributes.pkl", "byteorder", ".format_version", "BYTEORDER", ".storage_alignment", "a b",
    "data.pkl.bak", "sub/data.pkl",
)  # fmt: skip


def records_of(data: bytes) -> dict[str, bytes]:
    """The records of an archive with their full names."""
    with zipfile.ZipFile(BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def changed_records(data: bytes) -> Iterator[Case]:
    """Every record missing, with each content, beside each other record; other roots and other orders."""
    records = records_of(data)
    root = next(iter(records)).partition("/")[0]
    yield "nothing", zip_bytes(records)
    for name in records:
        short = name.partition("/")[2]
        yield f"without {short}", zip_bytes({other: body for other, body in records.items() if other != name})
        if short != "data.pkl":
            for content in CONTENTS:
                yield f"{short} = {content!r}", zip_bytes({**records, name: content})
        yield f"{short} in capitals", zip_bytes({(n.upper() if n == name else n): b for n, b in records.items()})
        short_upper = f"{root}/{short.upper()}"
        yield (
            f"name of {short} in capitals",
            zip_bytes({(short_upper if n == name else n): b for n, b in records.items()}),
        )
    for extra in EXTRA:
        for content in (b"", b"3", b"text"):
            yield f"with {extra} = {content!r}", zip_bytes({**records, f"{root}/{extra}": content})
            yield f"first {extra} = {content!r}", zip_bytes({f"{root}/{extra}": content, **records})
    for other in ("", "a/b", "a b", "é", "x" * 300, ".", ".."):
        renamed = {f"{other}/{name.partition('/')[2]}": body for name, body in records.items()}
        yield f"root {other!r}", zip_bytes(renamed)
    yield "a record outside", zip_bytes({**records, "outside": b"x"})
    yield "a record outside first", zip_bytes({"outside/x": b"x", **records})
    yield "backwards", zip_bytes(dict(reversed(records.items())))
    yield "no root", zip_bytes({name.partition("/")[2]: body for name, body in records.items()})
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        file = BytesIO()
        with zipfile.ZipFile(file, "w", method) as target:
            for name, body in records.items():
                target.writestr(name, body)
        yield f"written by zipfile, {method}", file.getvalue()


def changed_bytes(data: bytes, generator: random.Random, count: int) -> Iterator[Case]:
    """Single bytes changed, biased to the directory and the headers; files cut, with bytes added."""
    interesting = [at for at in range(len(data)) if data[at] != ord("Z")]
    for _ in range(count):
        at = generator.choice(interesting)
        mask = generator.choice((1, 2, 4, 8, 16, 32, 64, 128, 255))
        yield f"byte {at} ^ {mask}", data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]
    for _ in range(count // 20):
        cut = generator.randrange(len(data))
        yield f"cut at {cut}", data[:cut]
        yield f"{cut} added", data + data[:cut]
        yield f"begins at {cut}", data[cut:]


def with_pickle(data: bytes, body: bytes) -> bytes:
    """The archive with another ``data.pkl``."""
    return zip_bytes({n: body if n.endswith("/data.pkl") else b for n, b in records_of(data).items()})


def instructions(body: bytes) -> list[tuple[str, bytes]]:
    """The instructions of a pickle, each with its bytes."""
    found = list(pickletools.genops(body))
    ends = [at for _, _, at in found[1:]] + [len(body)]
    return [(op.name, body[at:end]) for (op, _, at), end in zip(found, ends, strict=True)]


SAMPLES: dict[str, bytes] = {
    "INT": b"I7\n", "BININT": b"J\x07\0\0\0", "BININT1": b"K\x07", "BININT2": b"M\x07\x01", "LONG": b"L7L\n",
    "LONG1": b"\x8a\x01\x07", "LONG4": b"\x8b\x01\0\0\0\x07", "STRING": b"S'a'\n", "BINSTRING": b"T\x01\0\0\0a",
    "SHORT_BINSTRING": b"U\x01a", "BINBYTES": b"B\x01\0\0\0a", "SHORT_BINBYTES": b"C\x01a",
    "BINBYTES8": b"\x8e\x01\0\0\0\0\0\0\0a", "BYTEARRAY8": b"\x96\x01\0\0\0\0\0\0\0a", "NEXT_BUFFER": b"\x97",
    "READONLY_BUFFER": b"\x98", "NONE": b"N", "NEWTRUE": b"\x88", "NEWFALSE": b"\x89", "UNICODE": b"Va\n",
    "SHORT_BINUNICODE": b"\x8c\x01a", "BINUNICODE": b"X\x01\0\0\0a", "BINUNICODE8": b"\x8d\x01\0\0\0\0\0\0\0a",
    "FLOAT": b"F1.5\n", "BINFLOAT": b"G?\xf8\0\0\0\0\0\0", "EMPTY_LIST": b"]", "APPEND": b"a", "APPENDS": b"e",
    "LIST": b"l", "EMPTY_TUPLE": b")", "TUPLE": b"t", "TUPLE1": b"\x85", "TUPLE2": b"\x86", "TUPLE3": b"\x87",
    "EMPTY_DICT": b"}", "DICT": b"d", "SETITEM": b"s", "SETITEMS": b"u", "EMPTY_SET": b"\x8f", "ADDITEMS": b"\x90",
    "FROZENSET": b"\x91", "POP": b"0", "DUP": b"2", "MARK": b"(", "POP_MARK": b"1", "GET": b"g0\n",
    "BINGET": b"h\0", "LONG_BINGET": b"j\0\0\0\0", "PUT": b"p0\n", "BINPUT": b"q\0", "LONG_BINPUT": b"r\0\0\0\0",
    "MEMOIZE": b"\x94", "EXT1": b"\x82\x01", "EXT2": b"\x83\x01\0", "EXT4": b"\x84\x01\0\0\0",
    "GLOBAL": b"ccollections\nOrderedDict\n", "STACK_GLOBAL": b"\x93", "REDUCE": b"R", "BUILD": b"b",
    "INST": b"icollections\nOrderedDict\n", "OBJ": b"o", "NEWOBJ": b"\x81", "NEWOBJ_EX": b"\x92",
    "PROTO": b"\x80\x02", "STOP": b".", "FRAME": b"\x95\x01\0\0\0\0\0\0\0", "PERSID": b"Pa\n", "BINPERSID": b"Q",
}  # fmt: skip
"""Every instruction of the protocols 0 to 5 (the test checks that it is every one), with arguments that are sound."""

_PUSHING = {
    "NEXT_BUFFER": b"\x97", "STACK_GLOBAL": b"X\x0b\0\0\0collectionsX\x0b\0\0\0OrderedDict\x93", "DUP": b"N2\x86",
    "POP": b"NN0", "POP_MARK": b"N(N1", "GET": b"Np9\ng9\n\x86", "PUT": b"Np9\n", "MEMOIZE": b"N\x94", "LIST": b"(Nl",
    "DICT": b"(NNd", "ADDITEMS": b"\x8f(N\x90", "FROZENSET": b"(N\x91", "INST": b"(icollections\nOrderedDict\n",
    "OBJ": b"(ccollections\nOrderedDict\no", "NEWOBJ": b"ccollections\nOrderedDict\n)\x81",
    "NEWOBJ_EX": b"ccollections\nOrderedDict\n)}\x92", "REDUCE": b"ccollections\nOrderedDict\n)R",
    "BUILD": b"ccollections\nOrderedDict\n)R}b", "APPEND": b"]Na", "APPENDS": b"](Ne", "TUPLE": b"(Nt",
    "TUPLE1": b"N\x85", "TUPLE2": b"NN\x86", "TUPLE3": b"NNN\x87", "SETITEM": b"}NNs", "SETITEMS": b"}(NNu",
    "MARK": b"(t", "BINGET": b"Nq\x09h\x09\x86", "LONG_BINGET": b"Nr\x09\0\0\0j\x09\0\0\0\x86", "BINPUT": b"Nq\x09",
    "LONG_BINPUT": b"Nr\x09\0\0\0", "PROTO": b"\x80\x02N", "FRAME": b"\x95\x01\0\0\0\0\0\0\0N", "PERSID": b"Pa\n",
    "BINPERSID": b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x01tQ",
    "READONLY_BUFFER": b"N\x98",
}  # fmt: skip


def each_instruction() -> Iterator[Case]:
    """A dictionary whose one value is made by each instruction."""
    for name, sample in SAMPLES.items():
        yield f"a value by {name}", b"\x80\x02}K\x01" + _PUSHING.get(name, sample) + b"s."
        yield f"{name} alone", sample + b"."
        yield f"{name} after nothing", b"\x80\x02" + sample + b"N."


def changed_instructions(body: bytes, generator: random.Random, count: int) -> Iterator[Case]:
    """Instructions of a real pickle left out, doubled, exchanged, replaced by any other; arguments changed."""
    ops = instructions(body)
    names = list(SAMPLES)
    for at in range(len(ops)) if len(ops) < 400 else generator.sample(range(len(ops)), 400):
        yield f"without {ops[at][0]} {at}", b"".join(raw for _, raw in ops[:at] + ops[at + 1 :])
    for _ in range(count):
        at = generator.randrange(len(ops))
        new = generator.choice(names)
        yield f"{ops[at][0]} {at} is {new}", b"".join(r for _, r in [*ops[:at], (new, SAMPLES[new]), *ops[at + 1 :]])
        other = generator.randrange(len(ops))
        mixed = list(ops)
        mixed[at], mixed[other] = mixed[other], mixed[at]
        yield f"{ops[at][0]} {at} and {ops[other][0]} {other} exchanged", b"".join(raw for _, raw in mixed)
        yield f"{ops[other][0]} {other} before {at}", b"".join(r for _, r in [*ops[:at], ops[other], *ops[at:]])
        flipped = bytearray(body)
        position = generator.randrange(len(body))
        flipped[position] = generator.randrange(256)
        yield f"byte {position} of the pickle is {flipped[position]}", bytes(flipped)


def text(value: str) -> bytes:
    """A string as torch writes it."""
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + pack("<I", len(raw)) + raw


def integer(value: int) -> bytes:
    """An integer of any size."""
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + pack("<i", value)
    raw = value.to_bytes((value.bit_length() >> 3) + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def storage(kind: str = "FloatStorage", key: bytes = text("0"), count: bytes = integer(4), more: bytes = b"") -> bytes:
    """A storage of the archive."""
    return b"(" + text("storage") + b"ctorch\n" + kind.encode() + b"\n" + key + text("cpu") + count + more + b"tQ"


def tensor(
    store: bytes = storage(),
    offset: bytes = b"K\0",
    shape: bytes = b"K\x04\x85",
    stride: bytes = b"K\x01\x85",
    rest: bytes = b"\x89ccollections\nOrderedDict\n)R",
) -> bytes:
    """A tensor over the first storage (16 bytes)."""
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + store + offset + shape + stride + rest + b"tR"


VALUES: dict[str, bytes] = {
    "None": b"N", "True": b"\x88", "7": b"K\x07", "-1": integer(-1), "1<<40": integer(1 << 40), "1<<70": integer(1 << 70),
    "1.5": b"G?\xf8\0\0\0\0\0\0", "nan": b"G\x7f\xf8\0\0\0\0\0\0", "'a'": text("a"), "'cpu'": text("cpu"),
    "'cuda:0'": text("cuda:0"), "'latin1'": text("latin1"), "'é'": text("é"), "'\ud800'": text("\ud800"),
    "b'a'": b"c_codecs\nencode\n" + text("a") + text("latin1") + b"\x86R", "()": b")", "(1,)": b"K\x01\x85",
    "(1, 2)": b"K\x01K\x02\x86", "(None,)": b"N\x85", "[]": b"]", "[1]": b"]K\x01a", "[[]]": b"]]a",
    "[(1, 2)]": b"]K\x01K\x02\x86a", "[1, 1]": b"](K\x01K\x01e", "{}": b"}", "{1: 2}": b"}K\x01K\x02s",
    "{'a': 1}": b"}" + text("a") + b"K\x01s",
    "OrderedDict()": b"ccollections\nOrderedDict\n)R", "OrderedDict": b"ccollections\nOrderedDict\n",
    "Counter()": b"ccollections\nCounter\n}\x85R", "set()": b"c__builtin__\nset\n]\x85R", "EMPTY_SET": b"\x8f",
    "torch.float32": b"ctorch\nfloat32\n", "FloatStorage": b"ctorch\nFloatStorage\n", "storage": storage(),
    "tensor": tensor(), "bools": tensor(storage("BoolStorage")), "size": b"ctorch\nSize\nK\x01\x85\x85R",
    "device": b"ctorch\ndevice\n" + text("cpu") + b"\x85R", "parameter":
    b"ctorch._utils\n_rebuild_parameter\n(" + tensor() + b"\x88ccollections\nOrderedDict\n)RtR",
}  # fmt: skip


def calls(names: list[str]) -> Iterator[Case]:
    """Every function that ``weights_only`` permits, called with every value and with pairs of some."""
    some = ("None", "7", "'cpu'", "(1,)", "[1]", "{}", "tensor", "storage", "True", "torch.float32", "'latin1'", "'a'")
    for name in names:
        module, _, last = name.rpartition(".")
        function = f"c{module}\n{last}\n".encode()
        for label, value in VALUES.items():
            for verb, op in (("called", b"R"), ("made", b"\x81")):
                yield f"{name} {verb} with {label}", function + value + b"\x85" + op + b"."
            yield f"{name}: {label} given", function + value + b"b."
        for verb, op in (("called", b"R"), ("made", b"\x81")):
            yield f"{name} {verb} with nothing", function + b")" + op + b"."
            yield f"{name} {verb} with no tuple", function + b"N" + op + b"."
            yield f"{name} {verb} with three", function + b"(" + VALUES["tensor"] + b"\x88}t" + op + b"."
        for first in some:
            for second in some:
                yield f"{name} called with {first}, {second}", function + VALUES[first] + VALUES[second] + b"\x86R."
        for label, value in VALUES.items():
            yield f"{name}() then {label}", function + b")R" + value + b"b."
    for label, target in VALUES.items():
        for other, value in VALUES.items():
            yield f"{label} built with {other}", target + value + b"b."
            yield f"{label} appended with {other}", target + value + b"a."
            yield f"{label} extended with {other}", target + b"(" + value + b"e."
            yield f"{label} with key {other}", target + value + b"Ns."
            yield f"{label} with keys {other}", target + b"(" + value + b"Nu."
            yield f"{label} called with {other}", target + value + b"\x85R."
            yield f"a key ({label}, {other})", b"}" + target + value + b"\x86Ns."


def tensors() -> Iterator[Case]:
    """Tensors over a storage of 16 bytes with every kind of odd argument."""
    for label, value in VALUES.items():
        yield f"storage {label}", tensor(value) + b"."
        yield f"offset {label}", tensor(offset=value) + b"."
        yield f"shape {label}", tensor(shape=value) + b"."
        yield f"stride {label}", tensor(stride=value) + b"."
        yield f"shape and stride {label}", tensor(shape=value, stride=value) + b"."
        yield f"requires_grad {label}", tensor(rest=value + b"N") + b"."
        yield f"hooks {label}", tensor(rest=b"\x89" + value) + b"."
        yield f"metadata {label}", tensor(rest=b"\x89N" + value) + b"."
        yield f"key {label}", tensor(storage(key=value)) + b"."
        yield f"count {label}", tensor(storage(count=value)) + b"."
        yield f"storage and {label}", tensor(storage(more=value)) + b"."
        yield f"pid {label}", value + b"Q."
        yield f"key {label} of a dict", b"}" + value + b"Ns."
        parts = [b"ctorch._utils\n_rebuild_parameter\n(", VALUES["tensor"], b"\x88", VALUES["OrderedDict()"], b"tR."]
        for at in (1, 2, 3):
            yield f"parameter with {label} as {at}", b"".join([*parts[:at], value, *parts[at + 1 :]])
    for kind in ("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool"):
        for grad in (b"\x88", b"\x89"):
            yield f"{kind} {grad!r}", tensor(storage(f"{kind}Storage"), rest=grad + b"N") + b"."
    for kind in ("Untyped", "Typed", "_Legacy", "QInt8", "QUInt8", "QInt32", "ComplexFloat", "ComplexDouble", "No"):
        yield f"{kind}Storage", tensor(storage(f"{kind}Storage")) + b"."
    for sizes in ([0], [0, 1 << 62], [1 << 40, 1 << 40], [1 << 62], [1 << 33, 1 << 33], [4, 1], [2, 2], [5], [1] * 70):
        shape = b"(" + b"".join(map(integer, sizes)) + b"t"
        for step in (0, 1, 2, 1 << 61, 1 << 62):
            stride = b"(" + integer(step) * len(sizes) + b"t"
            yield f"shape {sizes} stride {step}", tensor(shape=shape, stride=stride) + b"."
            yield f"bytes {sizes} stride {step}", tensor(storage("ByteStorage"), shape=shape, stride=stride) + b"."
    for offset in (0, 1, 3, 4, 5, 1 << 40, 1 << 61, 1 << 62):
        for size in (0, 1, 3, 4, 5):
            raw = integer(size) + b"\x85"
            yield f"offset {offset} size {size}", tensor(offset=integer(offset), shape=raw) + b"."
    for count in (0, 1, 3, 4, 5, -1, 1 << 40, 1 << 61):
        yield f"storage of {count}", tensor(storage(count=integer(count))) + b"."
        for other in (0, 1, 4):
            two = tensor(storage(count=integer(count)), shape=integer(min(count, 4)) + b"\x85")
            yield f"storage of {count} and {other}", two + tensor(storage(count=integer(other))) + b"\x86."
    for first in ("Float", "Half", "Byte", "Double"):
        two = tensor(storage(f"{first}Storage", count=integer(2)), shape=b"K\x01\x85") + tensor(shape=b"K\x01\x85")
        yield f"one storage as {first} and as Float", two + b"\x86."


def strings() -> Iterator[Case]:
    """Text of every kind of bytes, as value, key and name."""
    for raw in (
        b"a",
        b"\xff",
        b"\xc3",
        b"\xc3\xa9",
        b"\xed\xa0\x80",
        b"\xf0\x9f\x98\x80",
        b"\0",
        b"",
        b"\xed\xb0\x80\xed\xa0\x80",
    ):
        yield f"text {raw!r}", b"X" + pack("<I", len(raw)) + raw + b"."
        yield f"short text {raw!r}", b"U" + bytes([len(raw)]) + raw + b"."
        yield f"a key {raw!r}", b"}X" + pack("<I", len(raw)) + raw + b"Ns."
        yield f"a name {raw!r}", b"c" + raw + b"\n" + raw + b"\n."


def by_protocol() -> Iterator[Case]:
    """Plain values by Python's own pickler, every protocol."""
    values: dict[str, Any] = {
        "empty": {}, "scheduler": {"base_lrs": [1e-4], "last_epoch": 3, "lr_lambdas": [{}], "_last_lr": [1e-4]},
        "nested": {"a": [1, (2, 3, 4, 5), {"b": None}], "c": True, "d": b"bytes", "e": {1, 2}, "f": 2**80, "g": -1},
        "ordered": OrderedDict(a=1), "counter": Counter("aab"), "complex": 1j, "bytearray": bytearray(b"x"),
        "long text": "x" * 300, "frozen": frozenset({1}), "keys": {1.5: 1, (1, 2): 2, None: 3, True: 4, b"k": 5},
        "big": 2**2100, "ints": [0, 255, 256, 65535, 65536, -1, 2**31, -(2**31), 2**63],
    }  # fmt: skip
    for protocol in range(6):
        for label, value in values.items():
            yield f"{label} by protocol {protocol}", pickle.dumps(value, protocol)


def programs(generator: random.Random, count: int) -> Iterator[Case]:
    """Programs of random instructions and values, most of which run to their end."""
    pool = list(VALUES.values()) + [b"(" + a + b"t" for a in list(VALUES.values())[:12]]
    ops = [b"\x85", b"\x86", b"\x87", b"a", b"s", b"(", b"t", b"e", b"u", b"R", b"\x81", b"b", b"Q", b"q\1", b"h\1"]
    for number in range(count):
        body = b"\x80\x02" + b"".join(
            generator.choice(pool) if generator.random() < 0.6 else generator.choice(ops)
            for _ in range(generator.randrange(1, 9))
        )
        yield f"program {number}: {body!r}", body + b"."
