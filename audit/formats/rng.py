"""Read the random states of one process and check their structure.

Trainer's ``rng_state.pth`` and ``rng_state_{rank}.pth``, accelerate's ``random_states_{rank}.pkl``.
"""

from typing import Any, NamedTuple

from audit.formats.damage import Damage, Kind
from audit.formats.pickle_values import Call, TensorRef
from audit.formats.torch_archive import TorchArchive, read_torch
from audit.storage import RangeReader

_WORDS = 624  # of the Mersenne Twister; Python and numpy add the position in it
_CPU_BYTES = (5056, 5048)  # torch's CPU generator; the shorter form lacks the cached normal float
_TRAINER = ("python", "numpy", "cpu", "cuda")
_ACCELERATE = ("random_state", "numpy_random_seed", "torch_manual_seed", "torch_cuda_manual_seed")
"""Keys of the states of Python, numpy, torch's CPU generator and its CUDA generators."""


class RngState(NamedTuple):
    """Which generators a file has (``python``, ``numpy``, ``cpu``, ``cuda`` ...) and what is wrong with them.

    Each of ``problems`` completes the sentence "FILE ...". ``cuda_devices`` counts the GPU states.
    """

    generators: tuple[str, ...]
    cuda_devices: int
    problems: tuple[str, ...]
    archive: TorchArchive

    @property
    def names(self) -> tuple[str, ...]:
        """The classes and functions that the pickle names."""
        return self.archive.names


def read_rng(reader: RangeReader) -> RngState | Damage:
    """Read the states of the random generators of one process."""
    archive = read_torch(reader)
    return archive if isinstance(archive, Damage) else rng_in(archive)


def rng_in(archive: TorchArchive) -> RngState | Damage:
    """Return the states of the random generators that an archive holds."""
    values = archive.value
    if type(values) is not dict:
        return Damage(Kind.MALFORMED, "has no states of random generators: it is not a dictionary")
    keys = _ACCELERATE if "torch_manual_seed" in values else _TRAINER
    problems = [
        f"has no valid state of the {label} generator: {problem}"
        for label, key, check in zip(("Python", "numpy", "torch CPU"), keys, (_python, _numpy, _cpu), strict=False)
        if (problem := check(values[key]) if key in values else "it is missing")
    ]
    cuda: Any = values.get(keys[3])
    devices: list[Any] = list(cuda) if type(cuda) in (list, tuple) else [] if cuda is None else [cuda]
    for device in devices:
        if type(device) is not TensorRef or device.dtype != "U8" or len(device.shape) != 1:
            problems.append("has no valid state of a CUDA generator: it is not a tensor of bytes")
            break
    generators = tuple(key for key in values if type(key) is str)
    return RngState(generators, len(devices), tuple(problems), archive)


def _python(state: Any) -> str | None:
    # random.getstate(): (version, 624 words and the position, next normal number)
    if type(state) is not tuple or len(state) != 3:
        return "it is not a tuple of 3"
    version, words, normal = state
    if version != 3:
        return "its version is not 3"
    if type(words) is not tuple or len(words) != _WORDS + 1 or set(map(type, words)) != {int}:
        return "it does not have 625 integers"
    if min(words) < 0 or max(words) >= 1 << 32 or words[_WORDS] > _WORDS:
        return "a number is out of range"
    if not any(words[:_WORDS]):
        return "it is all zeros"
    if normal is not None and type(normal) is not float:
        return "its cached number is not a number"
    return None


def _numpy(state: Any) -> str | None:
    # numpy.random.get_state(): (name, array of 624 words, position, has a normal number, that number)
    if type(state) is not tuple or len(state) != 5:
        return "it is not a tuple of 5"
    name, words, position, _, _ = state
    if name != "MT19937":
        return "it is not of kind MT19937"
    if type(words) is not Call or type(words.state) is not tuple or len(words.state) != 5:
        return "its words are not an array"
    shape, raw = words.state[1], words.state[4]
    if shape != (_WORDS,) or type(raw) is not bytes or len(raw) != 4 * _WORDS:
        return "it does not have 624 words"
    if not raw.strip(b"\0"):
        return "it is all zeros"
    if type(position) is not int or not 0 <= position <= _WORDS:
        return "its position is out of range"
    return None


def _cpu(state: Any) -> str | None:
    if type(state) is not TensorRef or state.dtype != "U8" or len(state.shape) != 1:
        return "it is not a tensor of bytes"
    if state.shape[0] not in _CPU_BYTES:
        return f"it has {state.shape[0]} bytes instead of {_CPU_BYTES[0]}"
    return None
