"""The audit as a function that frameworks call before they load a checkpoint: path in, bool out.

MosaicML Composer calls the function that ``CHECKPOINT_VALIDATION_FUNCTION`` names (``module.function``) before it loads
a file, and raises ValueError if the result is false (``composer/utils/checkpoint.py``, ``_ensure_valid_checkpoint``).
Older versions pass the path alone, newer ones also the parts of a sharded file that they will read, as a list of
(offset, length) in bytes, or None.

    export CHECKPOINT_VALIDATION_FUNCTION=audit.validation.validate_checkpoint

A ``checkpoint-N`` of Trainer is judged by all rules. Of a single file only its format, its safety and its bytes can be
judged; whether it is the right file for the step only the framework knows.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from audit.backend.names import is_rotated
from audit.errors import AuditError
from audit.facts.file import File, FileFormat
from audit.facts.listing import MAX_ENTRIES
from audit.formats.damage import Damage
from audit.formats.pickle_names import is_dangerous
from audit.formats.torch_names import NUMPY_NAMES, is_class, plain_name, refused_in_torch_file
from audit.scan import FileScan, ScanJob, Span, scan_files
from audit.storage import FILE, ContextReader, Entry, LocalStorage, RangeReader

if TYPE_CHECKING:
    from audit.formats.torch_archive import TorchArchive

Specs = Sequence[tuple[int, int]]

_COMPOSER = frozenset({"datetime.timedelta", "datetime.datetime", "datetime.timezone", "collections.defaultdict"})
_CLASSES = ("composer", "torchmetrics")
"""Packages whose classes Composer pickles beside the weights: metrics, time stamps."""

_SHARDED = ".distcp"

_STATISTICS = ("mask", "metric", "callback")
"""Parts of names of tensors that may be infinite: an attention mask, the best value of a metric at its start."""


def validate_checkpoint(checkpoint_filepath: str | os.PathLike[str], specs: Specs | None = None) -> bool:
    """Return whether a checkpoint may be loaded; if not, the reason is logged as an error by the logger ``audit``.

    See :func:`why_invalid`. Nothing is executed, and nothing is written, not even into the ledger.
    """
    reason = why_invalid(checkpoint_filepath, specs)
    if reason is not None:
        from logging import getLogger

        getLogger("audit").error("%s: %s", os.fspath(checkpoint_filepath), reason)
    return reason is None


def why_invalid(path: str | os.PathLike[str], specs: Specs | None = None) -> str | None:
    """Return why a checkpoint must not be loaded, None if it is valid.

    ``path`` is a ``checkpoint-N`` (all rules), a run (its newest checkpoint must be resumable), another directory (each
    file in it) or a file, which may be a link. ``specs`` restricts a file to parts, as (offset, length) in bytes; in a
    file of ``torch.distributed.checkpoint`` each part is an archive.
    """
    place = os.fspath(path)
    try:
        if not os.path.isdir(place):
            return _file_fault(os.path.realpath(place), specs)
        if is_rotated(os.path.basename(os.path.abspath(place))):
            return _checkpoint_fault(place)
        if any(map(is_rotated, os.listdir(place))):
            return _run_fault(place)
        return _directory_fault(place)
    except AuditError as error:
        return str(error)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"


def _checkpoint_fault(path: str) -> str | None:
    from audit.api import verify
    from audit.options import Options

    report = verify(path, Options(ledger=False))
    if report.crashed:
        return f"rule {report.crashed[0].rule} crashed, so it is not proven; please report this"
    name = os.path.basename(os.path.abspath(path))
    if any(item.name == name and item.resumable for item in report.checkpoints):
        return None
    for item in report.findings:
        if item.blocks_resume and item.checkpoint in (name, None):
            return f"{item.message} ({item.rule})"
    return "was not written to its end"


def _run_fault(path: str) -> str | None:
    from audit.judging.decision import Limits
    from audit.judging.guard import consult
    from audit.options import Options

    return consult(path, Limits(strict=True), Options(ledger=False)).decision.refusal


def _directory_fault(path: str) -> str | None:
    found = 0
    for folder, _, names in os.walk(path):
        for name in sorted(names):
            found += 1
            file = os.path.join(folder, name)
            if found > MAX_ENTRIES:
                return f"has more than {MAX_ENTRIES} files"
            if os.path.islink(file):
                return f"{os.path.relpath(file, path)} is a link, which may lead anywhere"
            fault = _file_fault(file, None, lenient=True)
            if fault:
                return f"{os.path.relpath(file, path)} {fault}"
    return None if found else "has no file"


# -- one file -----------------------------------------------------------------------------------------------------


def _file_fault(path: str, specs: Specs | None, lenient: bool = False) -> str | None:
    """Return what is wrong with one file; with ``lenient`` a file of unknown format is valid if it can be read."""
    info = os.stat(path)
    folder, name = os.path.split(path)
    storage = LocalStorage(folder)
    entry = Entry(name, FILE, info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino)
    file = File(storage, name, entry, every_header=True)
    if specs is None and name.endswith(_SHARDED):
        specs = _parts_of(storage, folder, name)
        if specs is None:
            return "has parts, but .metadata beside it does not list them"
    if specs is not None:
        return _parts_fault(file, specs)
    if not info.st_size:
        return "is empty"
    if file.format == FileFormat.OTHER:
        file.format = _sniffed(file)
    content = file.content
    if isinstance(content, Damage):
        return content.message
    if file.format == FileFormat.OTHER and not lenient:
        return "has an unknown format, so it cannot be checked"
    unsafe = _unsafe(getattr(content, "names", ()), name)
    if unsafe:
        return unsafe
    if file.format == FileFormat.SAFETENSORS:
        spans = [Span(item.name, item.offset, item.nbytes, item.dtype, None, 0) for item in content.tensors.values()]
        return _scanned({name: (file.open, info.st_size, sorted(spans, key=lambda span: span.offset))}, {})
    if hasattr(content, "crc_written"):
        return _scanned({name: (file.open, info.st_size, _records(content))}, {name: content})
    return None


def _parts_of(storage: LocalStorage, folder: str, name: str) -> Specs | None:
    """Return the parts of a file of ``torch.distributed.checkpoint`` from the metadata beside it."""
    from audit.formats.pickle_values import Call

    try:
        info = os.lstat(os.path.join(folder, ".metadata"))
    except OSError:
        return None
    entry = Entry(".metadata", FILE, info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino)
    content = File(storage, ".metadata", entry).content
    found = []
    for _, item in _walk(getattr(content, "value", None)):
        if isinstance(item, Call) and item.function.endswith("._StorageInfo") and isinstance(item.state, dict):
            place, offset, length = (item.state.get(key) for key in ("relative_path", "offset", "length"))
            if place == name and isinstance(offset, int) and isinstance(length, int):
                found.append((offset, length))
    return found or None


def _sniffed(file: File) -> FileFormat:
    head = file.read(lambda source: source.read(0, 4))
    if isinstance(head, Damage):
        return FileFormat.OTHER
    return FileFormat.TORCH if head == b"PK\3\4" else FileFormat.PICKLE if head[:1] == b"\x80" else FileFormat.OTHER


def _parts_fault(file: File, specs: Specs) -> str | None:
    from audit.formats.torch_archive import read_torch

    jobs: dict[str, tuple[Callable[[], ContextReader], int, list[Span]]] = {}
    archives: dict[str, TorchArchive] = {}
    with file.open() as source:
        for offset, length in dict.fromkeys((int(first), int(second)) for first, second in specs):
            label = f"the part at {offset}"
            if offset < 0 or length < 0 or offset + length > source.size:
                return f"is truncated: {source.size} bytes, but a part ends at {offset + length}"
            part = _Part(source, offset, length)
            if part.read(0, 4) != b"PK\3\4":
                continue  # plain bytes of a tensor: nothing in them can be checked
            found = read_torch(part, True)
            fault = found.message if isinstance(found, Damage) else _unsafe(found.names, file.path)
            if fault:
                return f"{label} {fault}"
            assert not isinstance(found, Damage)
            archives[label] = found
            jobs[label] = (_opener(file, offset, length), length, _records(found))
    return _scanned(jobs, archives)


class _Part:
    """A RangeReader over a part of a file, for as long as the file is open."""

    def __init__(self, source: RangeReader, offset: int, size: int, owner: ContextReader | None = None) -> None:
        self._source = source
        self._offset = offset
        self._owner = owner
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        return self._source.read(self._offset + offset, max(0, min(length, self.size - offset)))

    def read_into(self, offset: int, buffer: memoryview) -> int:
        wanted = max(0, min(len(buffer), self.size - offset))
        return self._source.read_into(self._offset + offset, buffer[:wanted])

    def __enter__(self) -> RangeReader:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._owner is not None:
            self._owner.__exit__(*exc)


def _opener(file: File, offset: int, length: int) -> Callable[[], ContextReader]:
    def open_part() -> ContextReader:
        owner = file.open()
        return _Part(owner.__enter__(), offset, length, owner)

    return open_part


def _records(archive: "TorchArchive") -> list[Span]:
    little = archive.byteorder == "little"
    spans = []
    for name, record in archive.records.items():
        dtype = archive.dtypes.get(name[5:]) if little and name.startswith("data/") else None
        spans.append(Span(name, record.offset, record.size, dtype, record.crc if archive.crc_written else None, 0))
    return sorted(spans, key=lambda span: span.offset)


def _scanned(
    jobs: Mapping[str, tuple[Callable[[], ContextReader], int, list[Span]]], archives: "Mapping[str, TorchArchive]"
) -> str | None:
    """Read every byte; return the first thing that is wrong."""
    from audit.options import JOBS

    scans = scan_files(
        [ScanJob(key, opener, size, spans, digest=False) for key, (opener, size, spans) in jobs.items()], threads=JOBS
    )
    for key, (_, _, spans) in jobs.items():
        part = f"{key}: " if key.startswith("the part") else ""
        scan: FileScan = scans[key]
        if scan.error:
            return part + scan.error
        written = {span.name: span.crc for span in spans}
        for name, found in scan.spans.items():
            if found.complete and written[name] is not None and found.crc != written[name]:
                return f"{part}was changed after it was written: the CRC of {name} is wrong"
        names = _names(archives[key]) if key in archives else {}
        for name, found in scan.spans.items():
            if found.nonfinite and not _may_be_infinite(names.get(name, [name])):
                return f"{part}holds NaN or infinite values in {names.get(name, [name])[0]}"
    return None


def _names(archive: "TorchArchive") -> dict[str, list[str]]:
    """Return the names of the tensors in each record."""
    from audit.formats.pickle_values import TensorRef

    found: dict[str, list[str]] = {}
    for name, ref in _walk(archive.value):
        if isinstance(ref, TensorRef):
            found.setdefault(f"data/{ref.storage}", []).append(name)
    return found


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every tensor, and every call once, with its name; a pickle may contain cycles."""
    from audit.formats.pickle_values import Call, TensorRef

    seen: set[int] = set()
    left: list[tuple[str, Any]] = [("", value)]
    while left:
        name, item = left.pop()
        if isinstance(item, TensorRef):
            yield name, item
            continue
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Call):
            yield name, item
        inner: list[tuple[Any, Any]] = []
        if isinstance(item, dict):
            inner = list(item.items())
        elif isinstance(item, list | tuple):
            inner = list(enumerate(item))
        elif isinstance(item, Call):
            inner = [(item.function, part) for part in (item.args, item.state, item.items)]
        # Names grow with the depth; the end of a long one is enough.
        left.extend((f"{name}.{key}"[-200:].lstrip("."), part) for key, part in reversed(inner))


def _may_be_infinite(names: Sequence[str]) -> bool:
    return all(any(part in name for part in _STATISTICS) for name in names)


def _unsafe(names: Sequence[str], file: str) -> str | None:
    role = "metadata" if file.endswith((".metadata", _SHARDED)) else ""
    for name in names:
        plain = plain_name(name)
        parts = plain.split(".")
        composed = parts[0] in _CLASSES and is_class(parts) and all(part.isidentifier() for part in parts)
        if plain in NUMPY_NAMES or plain in _COMPOSER or composed:
            continue
        if file == "training_args.bin" and not is_dangerous(plain):
            continue  # Trainer puts it beside a finished model; nothing that loads the model reads it
        if refused_in_torch_file(name, role):
            return f"names {name}, which does not belong in a checkpoint"
    return None


__all__ = ["Specs", "validate_checkpoint", "why_invalid"]
