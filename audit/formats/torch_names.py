"""Which names may be in a file that torch loads: a list of what is in valid files, not of known attacks."""


def words(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


_DTYPES = words(
    "float16 float32 float64 bfloat16 complex32 complex64 complex128 uint8 uint16 uint32 uint64 int8 int16 int32 int64 "
    "bool float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu float4_e2m1fn_x2 bits8 bits16 "
    "bits1x8 bits2x4 bits4x2 qint8 qint32 quint8 quint4x2 quint2x4 per_tensor_affine per_tensor_symmetric "
    "per_channel_affine per_channel_symmetric per_channel_affine_float_qparams Size Tensor device"
)
_SPARSE = words("BFloat16 Byte Char Double Float Half Int Long Short")
_PLAIN = _SPARSE | {"Bool"}
_COMPLEX = _PLAIN | words("ComplexDouble ComplexFloat")
_QUANTISED = words("QInt32 QInt8 QUInt2x4 QUInt4x2 QUInt8")
_REBUILDERS = words(
    "_rebuild_device_tensor_from_cpu_tensor _rebuild_device_tensor_from_numpy _rebuild_meta_tensor_no_storage "
    "_rebuild_nested_tensor _rebuild_parameter _rebuild_parameter_with_state _rebuild_qtensor _rebuild_sparse_tensor "
    "_rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_wrapper_subclass"
)

TORCH_NAMES = frozenset(
    [
        "_codecs.encode", "builtins.bytearray", "builtins.complex", "builtins.set", "collections.Counter",
        "collections.OrderedDict", "torch._tensor._rebuild_from_type_v2", "torch.nn.parameter.Parameter",
        "torch.serialization._get_layout", "torch.storage.TypedStorage", "torch.storage.UntypedStorage",
        *(f"torch.{name}" for name in _DTYPES),
        *(f"torch.{sign}int{bits}" for sign in ("", "u") for bits in range(1, 8)),
        *(f"torch.{place}{kind}Storage" for place in ("", "cuda.") for kind in _COMPLEX),
        *(f"torch.{kind}Storage" for kind in _QUANTISED),
        *(f"torch.{place}{kind}Tensor" for place in ("", "cuda.") for kind in _PLAIN),
        *(f"torch.{place}{kind}Tensor" for place in ("sparse.", "cuda.sparse.") for kind in _SPARSE),
        *(f"torch._utils.{name}" for name in _REBUILDERS),
    ]
)  # fmt: skip
"""What ``torch.load(weights_only=True)`` accepts by default: torch 2.13, ``_get_allowed_globals``."""

NUMPY_NAMES = frozenset(
    [
        "numpy.ndarray", "numpy.dtype", "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct",
        "numpy.dtypes.UInt32DType",
    ]
)  # fmt: skip
"""What Trainer adds for random states: transformers 5.23, ``trainer_pt_utils.safe_globals``; numpy 1 and 2 differ."""

_REGISTERED = frozenset(
    [
        "torch.distributed.tensor.DTensor", "torch.distributed._tensor.api.DTensor",
        "torch.distributed.tensor._api.DTensor", "torch.distributed.tensor._dtensor_spec.DTensorSpec",
        "torch.distributed.tensor._dtensor_spec.TensorMeta", "torch.distributed.device_mesh.DeviceMesh",
        "torch.distributed.tensor.placement_types.Partial", "torch.distributed.tensor.placement_types.Replicate",
        "torch.distributed.tensor.placement_types.Shard", "torch.distributed.tensor.placement_types._StridedShard",
        "torch.nested._internal.nested_tensor.NestedTensor",
        "torch.nested._internal.nested_tensor._rebuild_njt",
    ]
)  # fmt: skip
"""What parts of torch register with ``add_safe_globals`` when they are imported."""

_METADATA_NAMES = frozenset(
    [
        "torch.distributed.checkpoint.metadata._MEM_FORMAT_ENCODING", "collections.defaultdict", "pathlib.PosixPath",
        "pathlib._local.PosixPath", "pathlib.PurePosixPath", "pathlib.WindowsPath", "pathlib._local.WindowsPath",
        "builtins.dict", "builtins.frozenset",
    ]
)  # fmt: skip

_DEEPSPEED_FUNCTIONS = frozenset({"deepspeed.utils.tensor_fragment.fragment_address"})


def plain_name(name: str) -> str:
    """Return a name as in Python 3: torch saves with protocol 2, which writes module names of Python 2."""
    for old, new in (("__builtin__.", "builtins."), ("copy_reg.", "copyreg.")):
        if name.startswith(old):
            return new + name[len(old) :]
    return name


def loads_by_default(name: str) -> bool:
    """Whether a resume loads ``name`` in any file: torch takes it by default, or Trainer adds it for random states."""
    return plain_name(name) in TORCH_NAMES or plain_name(name) in NUMPY_NAMES


def refused_in_torch_file(name: str, role: str) -> bool:
    """Return whether a resume refuses to load a file that names ``name``.

    ``role`` is "rng", "deepspeed", "metadata" (of a sharded state), "whole" (one file for the whole checkpoint, whose
    hyper-parameters may be of any class: nothing is refused) or "" for all other files. Optimizers of torchao
    register their tensor classes themselves; DeepSpeed loads its own states with everything allowed, so its own classes
    are not an attack.
    """
    name = plain_name(name)
    if role == "whole" or name in TORCH_NAMES or name in _REGISTERED:
        return False
    parts = name.split(".")
    if role == "rng" and name in NUMPY_NAMES:
        return False
    if parts[0] == "torchao" and is_class(parts):
        return False
    if role == "metadata":
        return not (name in _METADATA_NAMES or (name.startswith("torch.distributed.checkpoint.") and is_class(parts)))
    if role == "deepspeed":
        known = name in NUMPY_NAMES or (name.endswith("multiarray.scalar") and parts[0] == "numpy")
        known = known or name in ("builtins.dict", "builtins.list", "collections.defaultdict")
        return not (known or name in _DEEPSPEED_FUNCTIONS or (parts[0] == "deepspeed" and is_class(parts)))
    return True


def is_class(parts: list[str]) -> bool:
    """Return whether the last part is written like a class: ``LossScaler``, ``_StridedShard``."""
    last = parts[-1].lstrip("_")
    return last[:1].isupper()
