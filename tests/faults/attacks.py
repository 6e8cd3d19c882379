"""Checkpoints made by an enemy: nothing of them may run, lead out of the run, hang the audit or fill its memory."""

import os
import struct
import zipfile
import zlib

from tests.faults.missing_files import BASE, BEFORE, NEWEST, inside
from tests.faults.table import Damage, Group
from tests.faults.tools import ADAPTER, STATE, Evil, New, edit_torch, in_place_of

MARK = "executed"
"""Name of the file that an executed payload leaves in the working directory."""

attacks = Group("Attacks", BASE, NEWEST, BEFORE)


def evil(name: str) -> Damage:
    """A torch archive whose pickle calls os.system."""

    def damage(run: str) -> None:
        import torch

        torch.save({"state": Evil(os.system, f"touch {MARK}")}, inside(run, name))

    return damage


def _extra_global(run: str) -> None:
    def edit(document: dict[str, object]) -> None:
        document["extra"] = Evil(os.getcwd)

    edit_torch(inside(run, "optimizer.pt"), edit)


def _bare_pickle(run: str) -> None:
    in_place_of(inside(run, "optimizer.pt"), b"cos\nsystem\n(S'touch " + MARK.encode() + b"'\ntR.")


def _arguments(run: str) -> None:
    def edit(document: object) -> New:
        return New({"arguments": Evil(os.system, f"touch {MARK}")})

    edit_torch(inside(run, "training_args.bin"), edit)


for _name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
    attacks.add(f"{_name} calls os.system", "security/unsafe-pickle", evil(_name))
attacks.add("optimizer.pt names a function outside the allow-list", "security/unsafe-pickle", _extra_global)
attacks.add("optimizer.pt is a bare pickle that calls os.system", "security/unsafe-pickle", _bare_pickle)
attacks.add(
    "training_args.bin calls os.system", "security/unsafe-arguments", _arguments, severity="warning", blocks=False
)


def link(name: str, target: str) -> Damage:
    def damage(run: str) -> None:
        os.unlink(inside(run, name))
        os.symlink(target, inside(run, name))

    return damage


def _fifo(run: str) -> None:
    os.unlink(inside(run, "scheduler.pt"))
    os.mkfifo(inside(run, "scheduler.pt"))


attacks.add("optimizer.pt is a link to /etc/passwd", "security/escaping-path", link("optimizer.pt", "/etc/passwd"))
attacks.add(
    "adapter weights are a link to another checkpoint",
    "security/escaping-path",
    link(ADAPTER, f"../{BEFORE}/{ADAPTER}"),
)
attacks.add("scheduler.pt is a FIFO", "security/special-file", _fifo)
attacks.add("scheduler.pt is a link to itself", "security/special-file", link("scheduler.pt", "scheduler.pt"))


def _deflate_bomb(run: str) -> None:
    with zipfile.ZipFile(inside(run, "optimizer.pt"), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("optimizer/data.pkl", bytes(50_000_000))


def _claimed_size(run: str) -> None:
    """A directory entry that claims four gigabytes for a deflated record of a few bytes."""
    packed = zlib.compress(b"x" * 100)[2:-4]
    name = b"optimizer/data.pkl"
    local = (
        struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 0, 0, len(packed), 0xFFFFFFF0, len(name), 0) + name + packed
    )
    central = struct.pack(
        "<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 8, 0, 0, 0, len(packed), 0xFFFFFFF0, len(name), 0, 0, 0, 0, 0, 0
    )
    central += name
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(central), len(local), 0)
    in_place_of(inside(run, "optimizer.pt"), local + central + end)


def _deep_json(run: str) -> None:
    in_place_of(inside(run, STATE), b"[" * 200_000)


def _long_number(run: str) -> None:
    in_place_of(inside(run, STATE), b'{"global_step": ' + b"9" * 100_000 + b"}")


attacks.add("optimizer.pt: a record that inflates a thousand times", "security/oversized", _deflate_bomb)
attacks.add("optimizer.pt: a record that claims four gigabytes", "security/oversized", _claimed_size)
attacks.add("trainer_state.json: 200 000 brackets deep", "security/oversized", _deep_json)
attacks.add("trainer_state.json: a number of 100 000 digits", "security/oversized", _long_number)


def _hub_token(run: str) -> None:
    def edit(arguments: object) -> None:
        arguments.hub_token = "hf_" + "AbCdEfGhIj" * 3 + "AbCd"  # type: ignore[attr-defined]

    edit_torch(inside(run, "training_args.bin"), edit)


attacks.add("a token in training_args.bin", "security/secret", _hub_token, severity="warning", blocks=False)
