"""Events of every type with any values that the types of their fields allow."""

from typing import get_type_hints

from hypothesis import strategies as st

from audit.training.events import Event, kinds_of

VALUES = {
    str: st.text(),
    int: st.integers(1 - (1 << 53), (1 << 53) - 1),
    float: st.floats(),
    bool: st.booleans(),
    type(None): st.none(),
    list: st.lists(st.text()),
}


def any_of(kind: type[Event], /, **fields: object) -> st.SearchStrategy[Event]:
    """Events of one type; ``fields`` have these values."""
    hints = get_type_hints(kind)
    drawn = {name: st.one_of([VALUES[part] for part in kinds_of(hint)]) for name, hint in hints.items()}
    return st.builds(kind, **{**drawn, **{name: st.just(value) for name, value in fields.items()}})
