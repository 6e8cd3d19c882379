"""Whether the matrices of an adapter have the rank in its configuration."""

from collections.abc import Iterator

from audit.plugin import Adapter
from audit_rules.adapter._shared import Module, is_plain, matches


def wrong_ranks(adapter: Adapter, found: dict[str, Module]) -> Iterator[str]:
    """Say which modules have matrices whose rank differs from each other's or from the configuration.

    ``target_parameters`` (experts in one tensor) stack their matrices: the rank is then a multiple.
    """
    rank = adapter.config.get("r")
    allowed = _Ranks(adapter)
    wrong = []
    for module in found.values():
        first, second = module.parts.get("lora_A"), module.parts.get("lora_B")
        if first is None or second is None:
            continue
        if len(first.shape) < 2 or len(second.shape) < 2:
            yield f"{module.name} has matrices of shape {list(first.shape)} and {list(second.shape)}"
            return
        if first.shape[0] != second.shape[1]:
            yield (f"lora_A of {module.name} has rank {first.shape[0]} and lora_B has rank {second.shape[1]}")
            return
        if not allowed.fits(module.name, first.shape[0]):
            wrong.append((module.name, first.shape[0]))
    if wrong and isinstance(rank, int):
        name, actual = wrong[0]
        wanted = allowed.of(name)
        yield f"{len(wrong)} of {len(found)} modules do not have the configured rank {wanted}: {name} has {actual}"


class _Ranks:
    """The ranks that the configuration permits."""

    def __init__(self, adapter: Adapter) -> None:
        config = adapter.config
        rank, pattern = config.get("r"), config.get("rank_pattern")
        self.rank = rank if isinstance(rank, int) and not isinstance(rank, bool) else None
        self.pattern = {
            key: value
            for key, value in (pattern.items() if isinstance(pattern, dict) else ())
            if isinstance(value, int) and not isinstance(value, bool)
        }
        self.plain = all(is_plain(key) for key in self.pattern)
        self.stacked = bool(config.get("target_parameters"))

    def of(self, module: str) -> int | None:
        """The rank of one module: that of the first matching key, as PEFT chooses."""
        return next((value for key, value in self.pattern.items() if matches(module, key)), self.rank)

    def fits(self, module: str, rank: int) -> bool:
        wanted = self.of(module)
        if wanted is None or rank == wanted:
            return True
        if self.stacked and wanted > 0 and rank % wanted == 0:
            return True
        return not self.plain and rank in (self.rank, *self.pattern.values())
