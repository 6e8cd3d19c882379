"""Facts: computed at first use and kept, and "not there" is remembered like a value."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, TypeVar, overload

from audit.errors import NotApplicable

T = TypeVar("T")


class Watch:
    """Notes what a rule asks of checkpoints, so that its outcome can be remembered as long as none of that changes.

    ``seen`` is None while nobody listens. What a fact asks in turn is not noted: it follows from the files of its
    checkpoint, and what else it depends on is noted by :meth:`audit.facts.checkpoint.Checkpoint.asked`.
    """

    def __init__(self) -> None:
        self.seen: set[str] | None = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Note nothing meanwhile."""
        seen, self.seen = self.seen, None
        try:
            yield
        finally:
            self.seen = seen


class fact(Generic[T]):
    """Like ``functools.cached_property``, but a NotApplicable raised by the computation is kept as well.

    Thus a broken file is read once, however many rules ask for it.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, holder: None, owner: type) -> "fact[T]": ...

    @overload
    def __get__(self, holder: object, owner: type) -> T: ...

    def __get__(self, holder: object | None, owner: type) -> "fact[T] | T":
        if holder is None:
            return self
        watch: Watch | None = holder.watch  # type: ignore[attr-defined]
        watched = watch is not None and watch.seen is not None
        try:
            value = holder.__dict__["_facts"][self._name]
        except KeyError:
            kept = holder.__dict__.setdefault("_facts", {})
            if watch is None or not watched:
                value = kept[self._name] = self._computed(holder)
            else:
                with watch.paused():
                    value = kept[self._name] = self._computed(holder)
        if watched:
            holder.asked(self._name, value)  # type: ignore[attr-defined]
        if isinstance(value, NotApplicable):
            raise NotApplicable(*value.args)
        return value  # type: ignore[no-any-return]

    def _computed(self, holder: object) -> T | NotApplicable:
        try:
            return self._compute(holder)
        except NotApplicable as missing:
            return NotApplicable(*missing.args)  # without the frames that it came through


class Facts:
    """Base of things that have facts."""

    watch: Watch | None = None

    def asked(self, name: str, value: Any) -> None:
        """Hear that a fact was asked for while somebody watches."""

    def give(self, facts: Mapping[str, Any]) -> None:
        """Take facts that are known already, so that they are not computed."""
        self.__dict__.setdefault("_facts", {}).update(facts)

    def drop(self, *names: str) -> None:
        """Drop facts: they are computed again if somebody asks once more."""
        kept: dict[str, Any] = self.__dict__.get("_facts", {})
        for name in names:
            kept.pop(name, None)

    def optional(self, name: str) -> Any:
        """Return the fact of this name, or None if it is not there."""
        try:
            return getattr(self, name)
        except NotApplicable:
            return None
