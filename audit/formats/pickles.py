"""Read a pickle without executing it: nothing is imported, nothing is called, memory and time are bounded.

Not built on ``pickle.Unpickler``, which allocates whatever a memo index says, hashes tuples nested to any depth, and
cannot return a class without importing it. The frequent opcodes of torch files come first.
"""

from functools import lru_cache
from struct import Struct
from struct import error as StructError
from typing import Any, NamedTuple

from audit.formats.damage import Damage, Kind
from audit.formats.pickle_calls import (
    FREE_UNITS,
    MOST_UNITS,
    UNITS_PER_RECORD,
    Machine,
    call,
    over,
    persistent,
    set_items,
)
from audit.formats.pickle_names import is_dangerous
from audit.formats.pickle_opcodes import LONGEST_INTEGER, line, name_global, not_torchs, rare, text
from audit.formats.pickle_values import Call, Global, Refused, StorageRef, TensorRef

__all__ = ["Call", "Global", "Pickle", "StorageRef", "TensorRef", "load_pickle"]

MAX_BYTES = 32 << 20
"""Of the pickle alone, without the tensors. That of AdamW over 20 000 parameters has 4.5 MB."""
_SHORT = 8 << 10
"""Bytes. The last few pickles of at most this length are kept."""
_I32 = Struct("<i").unpack_from
_U32 = Struct("<I").unpack_from


class Pickle(NamedTuple):
    """A pickle's ``value``, and every class and function that it names, in order. The value may contain cycles.

    ``storages`` (by key) and ``tensors`` are all that are anywhere in it, so the value need not be searched.
    ``refusal`` says why ``torch.load(weights_only=True)`` refuses it ("it appends to a set"), empty if it does not; the
    names are not judged here. ``units``: memory beyond what the records of its archive account for; 9 bytes each.
    """

    value: Any
    names: tuple[str, ...]
    storages: dict[str, StorageRef]
    tensors: tuple[TensorRef, ...]
    refusal: str
    units: int


def load_pickle(data: bytes, trailing: bool = False, records: int = 0, units: int = 0) -> Pickle | Damage:
    """Read one pickle of protocol 0 to 5; ``trailing`` allows bytes after its end.

    ``records`` is how many tensors its archive holds: the more, the more memory and time a pickle may take, beside
    ``units``. The value may be that of an earlier call with the same bytes (the training arguments of a run): treat it
    as read-only.
    """
    return _recent(data, trailing, records, units) if len(data) <= _SHORT else _load(data, trailing, records, units)


def _load(data: bytes, trailing: bool, records: int, units: int) -> Pickle | Damage:
    if len(data) > MAX_BYTES:
        return Damage(Kind.OVERSIZED, f"has a pickle of {len(data)} bytes, more than any checkpoint needs")
    free = UNITS_PER_RECORD * records
    machine = Machine(data, min(max(units, FREE_UNITS) + free, MOST_UNITS))
    try:
        end, used = _run(machine)
    except Refused as refused:
        return _damage(machine, refused.message, refused.kind)
    except (IndexError, StructError):
        return _damage(machine, "is not a valid pickle: it ends early or pops from an empty stack")
    except KeyError:
        return _damage(machine, "is not a valid pickle: it refers to an object that it never stored")
    except UnicodeDecodeError:
        return _damage(machine, "is not a valid pickle: its text is not UTF-8")
    except (ValueError, OverflowError):
        return _damage(machine, "is not a valid pickle: a number cannot be read")
    if end != len(data) and not trailing:
        return _damage(machine, f"has {len(data) - end} bytes after the end of its pickle")
    return Pickle(
        machine.stack[-1],
        tuple(machine.names),
        machine.storages,
        tuple(machine.tensors),
        machine.refusal,
        max(0, used - free),
    )


_recent = lru_cache(maxsize=8)(_load)


def _damage(machine: Machine, message: str, kind: Kind = Kind.MALFORMED) -> Damage:
    """A damaged pickle is executed up to the damage: name what it would have run."""
    for name in machine.names:
        if is_dangerous(name):
            return Damage(Kind.UNSAFE, f"names {name}, which runs code when it is loaded, and {message}")
    return Damage(kind, message)


def _run(machine: Machine) -> tuple[int, int]:  # noqa: C901 - one loop: a function per opcode costs 3 times as much
    """Interpret until STOP, leave the value on the stack; return the position after STOP and the units of work."""
    data, memo, marks = machine.data, machine.memo, machine.marks
    stack = machine.stack
    size = len(data)
    position = 0
    left = machine.limit
    while True:
        op = data[position]
        position += 1
        if op == 113:  # q BINPUT
            memo[data[position]] = stack[-1]
            position += 1
        elif op == 104:  # h BINGET
            stack.append(memo[data[position]])
            position += 1
        elif op == 74:  # J BININT: half of the words of a random state
            stack.append(_I32(data, position)[0])
            position += 4
            left -= 3
        elif op == 138 and data[position] <= LONGEST_INTEGER:  # LONG1: the other half
            end = position + 1 + data[position]
            if end > size:
                raise IndexError
            stack.append(int.from_bytes(data[position + 1 : end], "little", signed=True))
            position = end
            left -= 8
        elif op == 114:  # r LONG_BINPUT
            memo[_U32(data, position)[0]] = stack[-1]
            position += 4
            left -= 8
        elif op == 75:  # K BININT1
            stack.append(data[position])
            position += 1
        elif op == 40:  # ( MARK
            marks.append(stack)
            stack = []
            left -= 7
        elif op == 88:  # X BINUNICODE
            end = position + 4 + _U32(data, position)[0]
            if end > size:
                raise IndexError
            try:
                stack.append(str(data[position + 4 : end], "utf-8"))
            except UnicodeDecodeError:
                stack.append(text(data[position + 4 : end]))
            left -= 6 + (end - position >> 3)
            position = end
        elif op == 116:  # t TUPLE
            made = tuple(stack)
            stack = marks.pop()
            stack.append(made)
            left -= 7
        elif op == 82:  # R REDUCE
            args = stack.pop()
            stack[-1] = call(machine, stack[-1], args)
            left -= 12
        elif op == 106:  # j LONG_BINGET
            stack.append(memo[_U32(data, position)[0]])
            position += 4
        elif op == 81:  # Q BINPERSID
            stack[-1] = persistent(machine, stack[-1])
            left -= 4
        elif op == 41:  # ) EMPTY_TUPLE
            stack.append(())
        elif op == 137:  # NEWFALSE
            stack.append(False)
        elif op == 133:  # TUPLE1
            stack[-1] = (stack[-1],)
            left -= 7
        elif op == 134:  # TUPLE2
            last = stack.pop()
            stack[-1] = (stack[-1], last)
            left -= 7
        elif op == 77:  # M BININT2
            stack.append(data[position] | data[position + 1] << 8)
            position += 2
        elif op == 125:  # } EMPTY_DICT
            stack.append({})
            left -= 7
        elif op == 117:  # u SETITEMS
            items = stack
            stack = marks.pop()
            set_items(machine, stack[-1], items)
        elif op == 78:  # N NONE
            stack.append(None)
        elif op == 136:  # NEWTRUE
            stack.append(True)
        elif op == 115:  # s SETITEM
            value = stack.pop()
            key = stack.pop()
            set_items(machine, stack[-1], [key, value])
        elif op == 93:  # ] EMPTY_LIST
            stack.append([])
            left -= 7
        elif op == 101:  # e APPENDS
            items = stack
            stack = marks.pop()
            _extend(machine, stack[-1], items)
        elif op == 97:  # a APPEND
            last = stack.pop()
            _extend(machine, stack[-1], [last])
        elif op == 135:  # TUPLE3
            last = stack.pop()
            middle = stack.pop()
            stack[-1] = (stack[-1], middle, last)
            left -= 7
        elif op == 99:  # c GLOBAL
            module, position = line(data, position)
            name, position = line(data, position)
            stack.append(name_global(machine, module.decode(), name.decode()))
            left -= 6
        elif op == 129:  # NEWOBJ
            args = stack.pop()
            stack[-1] = call(machine, stack[-1], args, True)
            left -= 12
        elif op == 46:  # . STOP
            machine.stack = [stack[-1]]
            return position, machine.limit - left + machine.work
        else:
            machine.refuse(not_torchs(op))
            machine.stack = stack
            position = rare(machine, op, position)
            left -= 8
            stack = machine.stack
        left -= 1
        if left < machine.work:
            raise over()


def _extend(machine: Machine, target: Any, items: list[Any]) -> None:
    if type(target) is list:
        if id(target) in machine.typed:
            machine.refuse("appends to a set")
        target.extend(items)
    elif type(target) is Call:
        machine.refuse(f"appends to {target.function}")
        target.items.extend(items)
    else:
        raise Refused("is not a valid pickle: it appends to something that is not a list")
