"""How a resume loads the torch files of a checkpoint."""

import pytest

from audit.backend.layout import Layout
from audit_rules._roles import loaded_as

DEEPSPEED = Layout("deepspeed", sharded_weights=("global_step3/w.pt",), sharded_optimizer=("global_step3/o.pt",))
LIGHTNING = Layout("full", weights=("a.ckpt",), parts={"weights": ("a.ckpt", "state_dict")})


@pytest.mark.parametrize(
    ("path", "layout", "expected"),
    [
        ("rng_state.pth", Layout("adapter", rng=("rng_state.pth",)), "rng"),
        ("optimizer.pt", Layout("adapter", optimizer="optimizer.pt", rng=("rng_state.pth",)), ""),
        ("optimizer_0/.metadata", Layout("fsdp", sharded_optimizer=("optimizer_0/.metadata",)), "metadata"),
        ("global_step3/w.pt", DEEPSPEED, "deepspeed"),
        ("global_step3/o.pt", DEEPSPEED, "deepspeed"),
        ("scheduler.pt", DEEPSPEED, ""),
        ("global_step3/w.pt", DEEPSPEED._replace(kind="fsdp"), ""),
        ("a.ckpt", LIGHTNING, "whole"),
    ],
)
def test_a_file_is_loaded_as_the_part_that_it_plays(path: str, layout: Layout, expected: str) -> None:
    assert loaded_as(path, layout) == expected
