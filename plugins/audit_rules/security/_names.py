"""Which names are allowed in training arguments."""

import sys

from audit.plugin import loads_by_default, plain_name

_HARMLESS = {
    "builtins": "bool bytearray bytes complex dict float frozenset int list object range set slice str tuple",
    "collections": "Counter OrderedDict defaultdict deque",
    "datetime": "date datetime time timedelta timezone",
    "pathlib": "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath",
    "pathlib._local": "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "uuid": "UUID",
    "types": "MappingProxyType SimpleNamespace",
    "argparse": "Namespace",
    "functools": "partial",
    "copyreg": "_reconstructor __newobj__",
    "_codecs": "encode",
}
_KNOWN = frozenset(f"{module}.{name}" for module, names in _HARMLESS.items() for name in names.split())

_LIBRARIES = frozenset(
    {
        "accelerate", "axolotl", "bitsandbytes", "datasets", "deepspeed", "llamafactory", "numpy", "omegaconf", "optimum",
        "peft", "sentence_transformers", "setfit", "swift", "torch", "torchao", "transformers", "trl", "unsloth",
        "unsloth_zoo", "vllm",
    }
)  # fmt: skip
"""Any class of these is allowed in training arguments: they write them."""

_ENDINGS = (
    "Config", "Configuration", "Conf", "Arguments", "Argument", "Args", "Params", "Parameters", "Options", "Option",
    "Settings", "Plugin", "Strategy", "Strategies", "Type", "Types", "State", "Mode", "Backend", "Names", "Name",
    "Kwargs", "Level", "Enum", "Kind", "Method", "Format", "Policy", "Precision", "Stage", "Prefetch", "Offload",
    "Schedule", "Scheduler", "Dict",
)  # fmt: skip
"""How the names of classes of settings end; those of users are in any module."""


def unknown_in_arguments(name: str, root: str = "") -> bool:
    """Say whether ``name`` is neither a class of settings nor known; ``root`` is the class of the arguments."""
    name = plain_name(name)
    if loads_by_default(name) or name in _KNOWN:
        return False
    parts = name.split(".")
    if parts[0] in sys.stdlib_module_names and parts[0] != "__main__":
        return True
    # The first part alone proves nothing: ``transformers.utils.subprocess.Popen`` is the standard library's.
    if not _RUNNERS.isdisjoint(parts[1:-1]):
        return True
    if parts[0] == "numpy":
        return not (parts[-1] == "scalar" or _is_class(parts[-1]))
    if name.startswith("torch.distributed.fsdp.wrap."):
        return False  # wrapping policies are functions
    if not _is_class(parts[-1]):
        return True
    return not (parts[0] in _LIBRARIES or name == root or parts[-1].endswith(_ENDINGS))


_RUNNERS = frozenset(
    {
        "asyncio", "builtins", "code", "codeop", "commands", "ctypes", "importlib", "marshal", "multiprocessing", "nt",
        "os", "pdb", "pickle", "pkgutil", "posix", "pty", "runpy", "shutil", "socket", "subprocess", "sys", "webbrowser",
    }
)  # fmt: skip
"""Modules that run code or access the system, wherever they were imported."""


def _is_class(name: str) -> bool:
    """Whether a name is written like a class: ``LossScaler``, ``_StridedShard``."""
    return name.lstrip("_")[:1].isupper()
