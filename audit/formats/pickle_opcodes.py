"""The opcodes of a pickle that are rare in torch files; the frequent ones are in ``pickles``."""

from codecs import escape_decode
from struct import Struct
from typing import Any

from audit.formats.damage import Kind
from audit.formats.pickle_calls import Machine, build, call, check_key, set_items
from audit.formats.pickle_values import Call, Global, Refused
from audit.formats.torch_loader import KNOWN_INSTRUCTIONS

LONGEST_NAME = 512
LONGEST_INTEGER = 17
"""Bytes: any number of 128 bits, as the state of a random generator of numpy. Longer ones overflow every float."""
_PROTOCOL_4 = 0x8C
"""The first instruction of protocol 4."""
_LAST_MEMO = (1 << 32) - 1
_F64 = Struct(">d").unpack_from
_U32 = Struct("<I").unpack_from
_U64 = Struct("<Q").unpack_from
_LENGTHS = {  # opcode: (bytes of the length, what follows)
    ord("C"): (1, "bytes"), ord("B"): (4, "bytes"), 0x8E: (8, "bytes"), 0x96: (8, "bytearray"),
    ord("U"): (1, "string"), ord("T"): (4, "string"), 0x8D: (8, "text"), 0x8C: (1, "text"),
}  # fmt: skip
_REFUSED = {
    ord("P"): "names an object outside the file by a text id",
    0x82: "uses the extension registry", 0x83: "uses the extension registry", 0x84: "uses the extension registry",
    0x97: "refers to a buffer outside the file", 0x98: "refers to a buffer outside the file",
}  # fmt: skip


def name_global(machine: Machine, module: Any, name: Any) -> Global:
    """Note that the pickle names ``module.name``; raise Refused if these are not names."""
    if type(module) is not str or type(name) is not str or len(module) > LONGEST_NAME or len(name) > LONGEST_NAME:
        raise Refused("is not a valid pickle: it names a class with something that is not a name")
    full = f"{module}.{name}"
    found = machine.names.get(full)
    if found is None:
        if not full.isprintable():
            raise Refused("is not a valid pickle: it names a class with something that is not a name")
        machine.charge(16)
        found = machine.names[full] = Global(full)
    return found


def line(data: bytes, position: int, limit: int = 1 << 20) -> tuple[bytes, int]:
    """Return the bytes up to the next newline and the position after it."""
    end = data.find(b"\n", position, position + limit)
    if end < 0:
        raise Refused("is not a valid pickle: a line of text has no end")
    return data[position:end], end + 1


def not_torchs(op: int) -> str:
    """Return why torch refuses an instruction of :func:`rare`, empty if it does not."""
    if op in KNOWN_INSTRUCTIONS:
        return ""
    later = ", of pickle protocol 4 or later; torch.save writes protocol 2" if op >= _PROTOCOL_4 else ""
    return f"uses the instruction 0x{op:02x}{later}"


def rare(machine: Machine, op: int, position: int) -> int:
    """Execute one opcode whose arguments start at ``position``; return the position of the next opcode."""
    data = machine.data
    stack = machine.stack
    if op in _LENGTHS:
        return _counted(machine, op, position)
    if op in _TEXT:
        text, position = line(data, position)
        stack.append(_TEXT[op](text))
    elif op in _STRUCTURE:
        _STRUCTURE[op](machine)
    elif op == ord("G"):
        stack.append(_F64(data, position)[0])
        position += 8
    elif op in (0x8A, 0x8B):
        width = 1 if op == 0x8A else 4
        length = data[position] if op == 0x8A else _U32(data, position)[0]
        position += width
        if length > LONGEST_INTEGER:
            raise Refused(f"has an integer of {length} bytes", Kind.OVERSIZED)
        if position + length > len(data):
            raise IndexError
        stack.append(int.from_bytes(data[position : position + length], "little", signed=True))
        position += length
    elif op == 0x80:
        if data[position] > 5:
            raise Refused(f"is a pickle of the unknown protocol {data[position]}")
        position += 1
    elif op == 0x95:
        if _U64(data, position)[0] > len(data) - position - 8:
            raise IndexError
        position += 8
    elif op in (ord("p"), ord("g")):
        text, position = line(data, position, 32)
        if op == ord("p"):
            machine.memo[_memo_number(text)] = stack[-1]
        else:
            stack.append(machine.memo[_memo_number(text)])
    elif op == ord("i"):
        module, position = line(data, position)
        name, position = line(data, position)
        items = _pop_mark(machine)
        function = name_global(machine, module.decode(), name.decode())
        machine.stack.append(call(machine, function, tuple(items)))
    elif op in _REFUSED:
        raise Refused(f"is a pickle that {_REFUSED[op]}")
    else:
        raise Refused(f"is not a pickle: unknown instruction 0x{op:02x}")
    return position


def _counted(machine: Machine, op: int, position: int) -> int:
    width, kind = _LENGTHS[op]
    data = machine.data
    start = position + width
    end = start + int.from_bytes(data[position:start], "little")
    if end > len(data):
        raise IndexError
    machine.charge((end - start) >> 3)
    raw = data[start:end]
    if kind == "text":
        machine.stack.append(text(raw))
    elif kind == "string":
        machine.stack.append(str(raw, "utf-8"))
    else:
        machine.stack.append(raw)
    return end


def text(raw: bytes) -> str:
    """Return UTF-8 text of a pickle; half of a surrogate pair, which is not text, becomes "?"."""
    return str(raw, "utf-8", "surrogatepass").encode("utf-8", "replace").decode()


def _pop_mark(machine: Machine) -> list[Any]:
    items = machine.stack
    machine.stack = machine.marks.pop()
    return items


def _memo_number(text: bytes) -> int:
    number = int(text)
    if not 0 <= number <= _LAST_MEMO:  # millions of larger numbers may have the same hash
        raise Refused("is not a valid pickle: it stores an object under a number that is too large")
    return number


def _integer(raw: bytes) -> int | bool:
    return raw == b"01" if raw in (b"00", b"01") else _long(raw)


def _long(raw: bytes) -> int:
    number = int(raw.removesuffix(b"L"))
    if number.bit_length() > 8 * LONGEST_INTEGER - 7:
        raise Refused(f"has an integer of {len(raw)} digits", Kind.OVERSIZED)
    return number


def _string(quoted: bytes) -> str:
    if len(quoted) < 2 or quoted[:1] != quoted[-1:] or quoted[:1] not in b"\"'":
        raise Refused("is not a valid pickle: a string without quotes")
    return str(escape_decode(quoted[1:-1])[0], "utf-8")


_TEXT: dict[int, Any] = {
    ord("I"): _integer,
    ord("L"): _long,
    ord("F"): float,
    ord("S"): _string,
    ord("V"): lambda text: str(text, "raw-unicode-escape").encode("utf-8", "replace").decode(),
}


def _pop(machine: Machine) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        _pop_mark(machine)


def _duplicate(machine: Machine) -> None:
    machine.stack.append(machine.stack[-1])


def _empty_set(machine: Machine) -> None:
    made: list[Any] = []
    machine.charge(8)
    machine.typed[id(made)] = made
    machine.stack.append(made)


def _name_from_stack(machine: Machine) -> None:
    name = machine.stack.pop()
    machine.stack[-1] = name_global(machine, machine.stack[-1], name)


def _memoize(machine: Machine) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


def _list(machine: Machine) -> None:
    items = _pop_mark(machine)
    machine.stack.append(items)


def _dict(machine: Machine) -> None:
    items = _pop_mark(machine)
    made: dict[Any, Any] = {}
    set_items(machine, made, items)
    machine.stack.append(made)


def _add_items(machine: Machine) -> None:
    items = _pop_mark(machine)
    target = machine.stack[-1]
    if type(target) is not list:
        raise Refused("is not a valid pickle: it adds to something that is not a set")
    for item in items:
        check_key(machine, item)
    target.extend(items)


def _obj(machine: Machine) -> None:
    items = _pop_mark(machine)
    machine.stack.append(call(machine, items[0], tuple(items[1:])))


def _newobj_ex(machine: Machine) -> None:
    keywords = machine.stack.pop()
    args = machine.stack.pop()
    made = call(machine, machine.stack.pop(), args)
    if type(made) is Call and keywords:
        made.state = keywords
    machine.stack.append(made)


def _build(machine: Machine) -> None:
    state = machine.stack.pop()
    build(machine, machine.stack[-1], state)


_STRUCTURE: dict[int, Any] = {
    ord("0"): _pop,
    ord("1"): _pop_mark,
    ord("2"): _duplicate,
    ord("l"): _list,
    ord("d"): _dict,
    ord("o"): _obj,
    ord("b"): _build,
    0x8F: _empty_set,
    0x90: _add_items,
    0x91: _list,
    0x92: _newobj_ex,
    0x93: _name_from_stack,
    0x94: _memoize,
}
