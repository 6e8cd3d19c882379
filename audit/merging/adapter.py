"""What a LoRA adapter of PEFT does to its base model: its configuration, and the names of its tensors.

Facts: peft 0.21, ``tuners/lora/config.py`` (the keys), ``tuners/lora/layer.py`` and ``variants.py`` (what each does),
``utils/other.py``, ``get_pattern_key`` (patterns), ``utils/save_and_load.py`` (names in the file).
"""

import re
from collections.abc import Mapping
from math import isfinite, sqrt
from typing import Any, NamedTuple

from audit.formats.tensors import Tensor
from audit.merging.refusals import refuse
from audit.text import shortened

PREFIX = "base_model.model."

_READ = frozenset(
    {
        "peft_type", "r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "modules_to_save",
        "init_lora_weights", "fan_in_fan_out", "bias", "lora_bias",
    }
)  # fmt: skip
_WITHOUT_EFFECT = frozenset(
    {
        "auto_mapping", "base_model_name_or_path", "corda_config", "eva_config", "exclude_modules", "inference_mode",
        "layers_pattern", "layers_to_transform", "loftq_config", "lora_dropout", "lora_ga_config", "megatron_core",
        "peft_version", "qalora_group_size", "revision", "runtime_config", "target_modules", "task_type",
    }
)  # fmt: skip
"""Keys that say how the adapter came to be, or that count only with another key, which is refused."""

_KEEPS_BASE = (None, True, False, "gaussian", "eva")
"""Values of ``init_lora_weights`` that leave the base as it was; pissa, olora, corda and loftq change it first."""

_PLAIN = re.compile(r"\^?[A-Za-z0-9_.\-]+")
_LORA = re.compile(
    r"(?P<module>.+)\.(?:(?P<part>lora_[AB])\.weight|(?P<rows>lora_embedding_[AB])"
    r"|(?P<magnitude>lora_magnitude_vector)(?:\.weight)?)"
)
_LORA_ANY = re.compile(r"(?:^|\.)(?:lora_[A-Za-z_]*|trainable_tokens_delta|token_adapter)(?:\.|$)")
_BASE_LAYER = ".base_layer."


class Settings(NamedTuple):
    """The keys of ``adapter_config.json`` that decide what is merged."""

    rank: int
    alpha: float
    rslora: bool
    dora: bool
    ranks: Mapping[str, int]
    alphas: Mapping[str, float]
    saved: tuple[str, ...]
    fan_in_fan_out: bool = False

    def rank_of(self, module: str) -> int:
        """The rank of a module: that of the first pattern that means it, as PEFT chooses."""
        return next((value for key, value in self.ranks.items() if means(key, module)), self.rank)

    def scaling_of(self, module: str) -> float:
        """What the product of the two matrices is multiplied by."""
        alpha = next((value for key, value in self.alphas.items() if means(key, module)), self.alpha)
        rank = self.rank_of(module)
        return alpha / sqrt(rank) if self.rslora else alpha / rank

    def saves(self, module: str) -> bool:
        """Whether ``modules_to_save`` means a module, or one around it.

        peft 0.21, ``_set_trainable``, compares the ends of names: "norm" means every ``input_layernorm``, too.
        """
        ends = (module[:end] for end, letter in enumerate(f"{module}.") if letter == ".")
        return any(around.endswith(self.saved) for around in ends)


class Update(NamedTuple):
    """The low-rank update of one module: ``a`` (rank x in) and ``b`` (out x rank), ``magnitude`` with DoRA.

    Those of a convolution have its dimensions, too: ``a`` is rank x in x kernel, ``b`` out x rank x 1 for each of them,
    and the update is the product of the two as matrices with as many rows.
    ``transposed``: the weight is stored in x out, as that of an embedding (rows x columns) or a Conv1D is, and the
    update is the transposed product.
    """

    module: str
    a: Tensor
    b: Tensor
    magnitude: Tensor | None
    rank: int
    scaling: float
    embedding: bool
    transposed: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the weight which it fits, as it is stored."""
        straight = self.b.shape[0], *self.a.shape[1:]
        return straight[::-1] if self.transposed else straight

    @property
    def convolution(self) -> bool:
        """Whether it is that of a convolution (not of a ``Conv1D``, which is a linear layer)."""
        return len(self.a.shape) > 2

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors of the file that it uses."""
        return (self.a, self.b) if self.magnitude is None else (self.a, self.b, self.magnitude)


class Adapter(NamedTuple):
    """All that an adapter's file holds, by the name of the tensor of the base that it is for.

    ``updates`` are added to it, ``saved`` replace it (``modules_to_save``), and ``copies`` must be equal to it: PEFT
    saves an embedding beside its update, and one that was resized.
    """

    settings: Settings
    updates: Mapping[str, Update]
    saved: Mapping[str, Tensor]
    copies: Mapping[str, Tensor]


def read_settings(config: Mapping[str, Any], where: str) -> Settings:
    """Return what counts of a configuration. Raises RefusedError for a kind of adapter that is not merged here."""
    kind = config.get("peft_type")
    if kind != "LORA":
        refuse(where, f"peft_type is {_shown(kind)}, and only LORA is merged")
    for key, value in config.items():
        if key not in _READ and key not in _WITHOUT_EFFECT and value not in (None, False, "", [], {}):
            refuse(where, f"uses {_shown(key)}, which audit merge does not support")
    if config.get("init_lora_weights", True) not in _KEEPS_BASE:
        refuse(
            where,
            f"init_lora_weights is {_shown(config['init_lora_weights'])}, which changes the base before training",
            "convert it first: PeftModel.save_pretrained(path_initial_model_for_weight_conversion=...)",
        )
    if config.get("fan_in_fan_out") not in (None, False, True):
        refuse(where, f"fan_in_fan_out is {_shown(config['fan_in_fan_out'])}", "restore it from a backup")
    if config.get("bias", "none") != "none" or config.get("lora_bias"):
        refuse(where, "trains biases (bias, lora_bias), which audit merge does not support")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not _is_rank(rank) or not _is_alpha(alpha):
        refuse(where, f"r is {_shown(rank)} and lora_alpha {_shown(alpha)}", "restore it from a backup")
    ranks, alphas = (_pattern(config.get(key), key, where) for key in ("rank_pattern", "alpha_pattern"))
    if not all(map(_is_rank, ranks.values())) or not all(map(_is_alpha, alphas.values())):
        refuse(where, "a value of rank_pattern or alpha_pattern is no number above 0", "restore it from a backup")
    saved = config.get("modules_to_save") or []
    if not isinstance(saved, list) or not all(isinstance(name, str) and _PLAIN.fullmatch(name) for name in saved):
        refuse(where, "modules_to_save is not a list of names")
    rslora, dora = bool(config.get("use_rslora")), bool(config.get("use_dora"))
    turned = bool(config.get("fan_in_fan_out"))
    return Settings(int(rank), float(alpha), rslora, dora, ranks, alphas, tuple(saved), turned)  # type: ignore[arg-type]


def read_adapter(settings: Settings, tensors: Mapping[str, Tensor], where: str) -> Adapter:
    """Assign every tensor of an adapter's file to a tensor of the base. Raises RefusedError for one that fits nothing.

    The shapes of the matrices fit each other then; whether they fit the base is not looked at.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    saved: dict[str, Tensor] = {}
    copies: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        inner = name.removeprefix(PREFIX)
        if inner == name:
            refuse(where, f"tensor {name} does not begin with {PREFIX}, as those that PEFT saves do")
        if (match := _LORA.fullmatch(inner)) is not None:
            part = match["part"] or match["rows"] or match["magnitude"]
            parts.setdefault(match["module"], {})[part] = tensor
        elif _LORA_ANY.search(inner):
            refuse(where, f"tensor {name} is of a kind that audit merge does not support")
        elif _BASE_LAYER in inner:
            copies[inner.replace(_BASE_LAYER, ".", 1)] = tensor
        elif settings.saves(inner.rpartition(".")[0]):
            saved[inner] = tensor
        else:
            copies[inner] = tensor
    updates = {f"{module}.weight": _update(module, found, settings, where) for module, found in parts.items()}
    if not updates and not saved:
        refuse(where, "holds nothing to merge", "verify the run")
    for name in updates.keys() & saved.keys():
        refuse(where, f"{name} is both updated and replaced")
    return Adapter(settings, updates, saved, copies)


def means(pattern: str, module: str) -> bool:
    """Say whether a plain key of ``rank_pattern`` or ``alpha_pattern`` means a module: its name, or its end."""
    if pattern.startswith("^"):
        return module == pattern[1:]
    return module == pattern or module.endswith(f".{pattern}")


def _update(module: str, parts: Mapping[str, Tensor], settings: Settings, where: str) -> Update:
    embedding = "lora_embedding_A" in parts or "lora_embedding_B" in parts
    a, b = (parts.get(f"lora_{'embedding_' if embedding else ''}{side}") for side in "AB")
    magnitude = parts.get("lora_magnitude_vector")
    if a is None or b is None or len(parts) != 2 + (magnitude is not None):
        refuse(where, f"{module} has {', '.join(sorted(parts))} instead of one pair of matrices", "verify the run")
    if (magnitude is not None) != settings.dora:
        refuse(
            where, f"{module} has {'a' if magnitude else 'no'} magnitude, and use_dora is {settings.dora}", "verify it"
        )
    _check_dimensions(module, a, b, embedding, settings, where)
    rank = settings.rank_of(module)
    if a.shape[0] != rank or b.shape[1] != rank:
        refuse(
            where,
            f"{module} has matrices of shape {list(a.shape)} and {list(b.shape)}, and its rank is {rank}",
            "verify the run",
        )
    if magnitude is not None and magnitude.shape != (b.shape[0],):
        refuse(where, f"{module} has a magnitude of shape {list(magnitude.shape)}, not [{b.shape[0]}]", "verify it")
    return Update(module, a, b, magnitude, rank, settings.scaling_of(module), embedding, embedding)


def _check_dimensions(module: str, a: Tensor, b: Tensor, embedding: bool, settings: Settings, where: str) -> None:
    """Raise RefusedError for matrices that are neither of a linear layer nor of a convolution that is merged."""
    shapes, dimensions = f"matrices of shape {list(a.shape)} and {list(b.shape)}", len(a.shape)
    most = 2 if embedding else _MOST_DIMENSIONS
    if not 2 <= dimensions <= most or len(b.shape) != dimensions or any(size != 1 for size in b.shape[2:]):
        refuse(where, f"{module} has {shapes}: neither a linear layer nor a convolution")
    if dimensions == 2:
        return
    if settings.dora:
        refuse(where, f"{module} is a convolution with DoRA, which audit merge does not support")
    if b.shape[1] != a.shape[0] and b.shape[1] and a.shape[0] % b.shape[1] == 0:
        refuse(
            where,
            f"{module} has {shapes}: a convolution in groups, which peft does not merge either",
            "use base and adapter as they are",
        )


_MOST_DIMENSIONS = 5
"""Of the weight of a Conv3d."""


def _pattern(value: Any, key: str, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        refuse(where, f"{key} is not an object", "restore it from a backup")
    for name in value:
        if not _PLAIN.fullmatch(name):
            refuse(where, f"{key} has the regular expression {_shown(name)}; only names of modules are read")
    return value


def _is_rank(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 31


def _is_alpha(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and abs(value) < 1e30


def _shown(value: Any) -> str:
    return shortened(repr(value), 60)
