"""Which names in a pickle are known to be harmless, and which run code.

Only for files that cannot be read in full; the names of others are judged by the rule ``security/unsafe-pickle``.
"""

_HARMLESS_ROOTS = frozenset({"torch", "collections", "numpy", "_codecs", "transformers", "accelerate", "peft", "trl"})
_DANGEROUS_ROOTS = frozenset(
    {
        "asyncio", "bdb", "cProfile", "code", "codeop", "commands", "ctypes", "dill", "cloudpickle", "functools",
        "importlib", "joblib", "marshal", "multiprocessing", "nt", "operator", "os", "pathlib", "pdb", "pickle",
        "pip", "pkgutil", "platform", "popen2", "posix", "profile", "pty", "pydoc", "runpy", "shutil", "signal",
        "smtplib", "socket", "ssl", "subprocess", "sys", "tempfile", "threading", "timeit", "types", "urllib",
        "webbrowser", "_io", "_pickle", "_posixsubprocess", "requests", "httplib", "http",
    }
)  # fmt: skip
_DANGEROUS_BUILTINS = frozenset(
    {"apply", "breakpoint", "compile", "delattr", "eval", "exec", "execfile", "file", "globals", "input", "open"}
    | {"setattr", "vars", "__import__", "memoryview"}
)


def is_dangerous(name: str) -> bool:
    """Return whether ``name`` is of a module or a builtin that runs code, starts a process or opens a connection."""
    root, _, rest = name.partition(".")
    if root in ("builtins", "__builtin__"):
        return rest in _DANGEROUS_BUILTINS
    return root in _DANGEROUS_ROOTS


def is_harmless(name: str) -> bool:
    """Return whether ``name`` belongs to the libraries that write checkpoints, or is a plain container."""
    root, _, rest = name.partition(".")
    if root in ("builtins", "__builtin__"):
        return rest in ("set", "frozenset", "list", "dict", "tuple", "int", "float", "str", "bytes", "bool")
    return root in _HARMLESS_ROOTS
