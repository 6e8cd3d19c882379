"""``audit seal RUN``: take digests, write them as files that standard tools check, and sign them."""

import argparse
import os
from typing import Any

from audit.backend.names import is_checkpoint_of_any, order
from audit.cli.documents import add_format, write_document
from audit.cli.options import RUN_OR_CHECKPOINT, add_shared, options_of
from audit.cli.parser import write
from audit.cli.progress import Progress
from audit.errors import AuditError
from audit.facts.listing import locate
from audit.facts.traces import no_checkpoint
from audit.judging.proving import proving
from audit.judging.verification import verify_report as verify
from audit.ledger.checksums import write_checksums
from audit.manager import load
from audit.storage import LocalStorage, scheme_of, without_secrets

TOOLS = {"blake3": "b3sum", "sha256": "sha256sum"}

EXAMPLES = (
    ("audit seal current_model/", "verify, then write digests of the sound checkpoints for b3sum --check"),
    ("audit seal current_model/checkpoint-300 --algorithm sha256", "seal one checkpoint, for sha256sum --check"),
    ("audit seal current_model/ --sign-key private.pem", "also sign the digests"),
    (
        "audit seal current_model/ --verify-key public.pem",
        "verify the signatures, trusting nothing but the key",
    ),
    ("audit seal current_model/ --base ~/models/base", "also record the digests of its base, for audit merge"),
    ("audit seal current_model/ --format json", "print what was sealed, and where the digests are, as JSON"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", metavar="RUN", help=RUN_OR_CHECKPOINT)
    parser.add_argument(
        "--algorithm",
        choices=tuple(TOOLS),
        help="algorithm of the checksums and the signature (default: blake3; with --sign-key sha256, "
        "which the command model_signing can verify)",
    )
    keys = parser.add_mutually_exclusive_group()
    keys.add_argument("--sign-key", metavar="PEM", help="also sign with this elliptic-curve private key")
    keys.add_argument("--verify-key", metavar="PEM", help="only verify the signatures with this public key")
    parser.add_argument(
        "--base",
        metavar="DIR",
        help="also record the digests of this base model in the ledger: audit merge merges into no other",
    )
    add_format(parser)
    add_shared(parser, "seal")


def call(arguments: argparse.Namespace) -> int:
    """Verify at full depth, seal what is sound, write the files; 1 if a checkpoint could not be sealed."""
    remote = scheme_of(arguments.run) is not None
    if remote and (arguments.verify_key or arguments.sign_key):
        raise AuditError(f"{without_secrets(arguments.run)}: signatures are made and checked of runs on this machine")
    if remote and arguments.base:
        raise AuditError(f"{without_secrets(arguments.run)}: a base is recorded for runs on this machine")
    if arguments.verify_key:
        if arguments.base:
            raise AuditError("--verify-key records nothing, and --base is to be recorded: give one of them")
        return _check(arguments)
    signer = None
    if arguments.sign_key:
        from audit.ledger.signatures import Signer

        signer = Signer(arguments.sign_key)
    algorithm = arguments.algorithm or ("sha256" if signer else "blake3")
    registry = load()
    options = proving(options_of(arguments, registry))._replace(ledger=True)
    if signer:
        options = options._replace(cache=False)  # what is signed must have been read now, not remembered by the ledger
    with Progress(arguments.run, quiet=arguments.quiet > 0) as progress:
        report = verify(arguments.run, options, registry=registry, progress=progress.advance)
    place = registry.place(arguments.run, options.ledger_dir)
    if not report.checkpoints:
        raise AuditError(no_checkpoint(place.named, place.storage))
    if report.notes and not any(item.sealed for item in report.checkpoints):
        raise AuditError(f"{report.path}: {report.notes[0]}")
    records = place.records(write=False)[0]
    if problem := records.unusable or records.edited:
        raise AuditError(f"nothing can be sealed: {problem}")
    rows = []
    for item in report.checkpoints:
        row: dict[str, Any] = {"name": item.name, "sealed": False, "checksums": None, "signature": None}
        rows.append(row)
        if item.sealed and item.resumable and item.name in records.seals:
            seal = records.seals[item.name]
            row |= {"sealed": True, "checksums": write_checksums(place.home, seal, algorithm, place.storage)}
            if signer:
                row["signature"] = signer.sign(report.path, seal, algorithm)
        if arguments.format != "json":
            _say(row, "" if item.judged else "is not judged; ", report.path, algorithm, arguments.quiet > 0, remote)
    base = _seal_base(report.path, arguments) if arguments.base else None
    if arguments.format == "json":
        found = {"run": report.path, "algorithm": algorithm, "checkpoints": rows, "base": base}
        write_document({**found, "notes": list(report.notes)})
    return int(not all(row["sealed"] for row in rows))


def _seal_base(run: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Record the digests of the base model."""
    from audit.merging.ledger_rows import seal_base

    files = seal_base(run, arguments.base)
    if arguments.format != "json" and not arguments.quiet:
        write(f"base        {arguments.base}  (digests of {len(files)} files recorded)\n", None)
    return {"path": arguments.base, "files": {name: file.digest for name, file in sorted(files.items())}}


def _say(row: dict[str, Any], why: str, run: str, algorithm: str, quiet: bool, remote: bool) -> None:
    name = row["name"]
    if not row["sealed"]:
        write(f"not sealed  {name}: {why}see audit verify {run}\n", None)
        return
    if quiet:
        return
    check = f"cd {run} && {TOOLS[algorithm]} --check {os.path.relpath(row['checksums'], run)}"
    text = f"sealed      {name}  ({row['checksums'] if remote else check})\n"
    if row["signature"]:
        text += f"signed      {name}  {row['signature']}\n"
    write(text, None)


def _check(arguments: argparse.Namespace) -> int:
    """Check the signature of every checkpoint against all its bytes; 1 if one is invalid or missing."""
    from audit.ledger.signatures import Verifier

    verifier = Verifier(arguments.verify_key)
    run, only = locate(arguments.run)
    names = only or sorted(
        (name for name in os.listdir(run) if is_checkpoint_of_any(name)),
        key=order,
    )
    if not names:
        raise AuditError(no_checkpoint(arguments.run, LocalStorage(run)))
    rows = []
    for name in names:
        problem = verifier.problem(run, name)
        rows.append({"name": name, "valid": problem is None, "problem": problem})
        if arguments.format == "json":
            continue
        if problem:
            write(f"not proven  {name}: {problem}\n", None)
        elif not arguments.quiet:
            write(f"valid       {name}\n", None)
    if arguments.format == "json":
        write_document({"run": run, "key": arguments.verify_key, "checkpoints": rows})
    return int(not all(row["valid"] for row in rows))
