"""``audit seal RUN``: take digests, write them as files that standard tools check, and sign them."""

import argparse
import os

from audit.api import verify
from audit.backend.names import is_checkpoint_of_any, order
from audit.cli.options import RUN_OR_CHECKPOINT, add_shared, options_of
from audit.cli.parser import write
from audit.cli.progress import Progress
from audit.errors import AuditError
from audit.facts.listing import locate
from audit.judging.proving import proving
from audit.ledger.checksums import write_checksums
from audit.ledger.records import read_records
from audit.manager import load

TOOLS = {"blake3": "b3sum", "sha256": "sha256sum"}

EXAMPLES = (
    ("audit seal current_model/", "verify, then write digests of the sound checkpoints for b3sum --check"),
    ("audit seal current_model/checkpoint-300 --algorithm sha256", "seal one checkpoint, for sha256sum --check"),
    ("audit seal current_model/ --sign-key private.pem", "also sign the digests"),
    (
        "audit seal current_model/ --verify-key public.pem",
        "verify the signatures, trusting nothing but the key",
    ),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", metavar="RUN", help=RUN_OR_CHECKPOINT)
    parser.add_argument(
        "--algorithm",
        choices=tuple(TOOLS),
        help="digest of the checksum file and the signature (default: blake3; with --sign-key sha256, "
        "which the command model_signing can verify)",
    )
    keys = parser.add_mutually_exclusive_group()
    keys.add_argument("--sign-key", metavar="PEM", help="also sign with this elliptic-curve private key")
    keys.add_argument("--verify-key", metavar="PEM", help="only verify the signatures with this public key")
    add_shared(parser, "seal", quiet="print nothing but errors")


def call(arguments: argparse.Namespace) -> int:
    """Verify at full depth, seal what is sound, write the files; 1 if a checkpoint could not be sealed."""
    if arguments.verify_key:
        return _check(arguments.run, arguments.verify_key)
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
    if not report.checkpoints:
        raise AuditError(f"{arguments.run}: no checkpoint-N directory in it")
    if report.notes and not any(item.sealed for item in report.checkpoints):
        raise AuditError(f"{report.path}: {report.notes[0]}")
    records = read_records(report.path, write=False)[0]
    if problem := records.unusable or records.edited:
        raise AuditError(f"nothing can be sealed: {problem}")
    seals = records.seals
    unsealed = 0
    for item in report.checkpoints:
        if not item.sealed or not item.resumable or item.name not in seals:
            why = "" if item.judged else "is not judged; "
            write(f"not sealed  {item.name}: {why}see audit verify {report.path}\n", None)
            unsealed += 1
            continue
        path = write_checksums(report.path, seals[item.name], algorithm)
        check = f"cd {report.path} && {TOOLS[algorithm]} --check {os.path.relpath(path, report.path)}"
        done = [f"sealed      {item.name}  ({check})\n"]
        if signer:
            done.append(f"signed      {item.name}  {signer.sign(report.path, seals[item.name], algorithm)}\n")
        if not arguments.quiet:
            write("".join(done), None)
    return int(unsealed > 0)


def _check(path: str, public_key: str) -> int:
    """Check the signature of every checkpoint against all its bytes; 1 if one is invalid or missing."""
    from audit.ledger.signatures import Verifier

    verifier = Verifier(public_key)
    run, only = locate(path)
    names = only or sorted(
        (name for name in os.listdir(run) if is_checkpoint_of_any(name)),
        key=order,
    )
    if not names:
        raise AuditError(f"{path}: no checkpoint-N directory in it")
    failed = 0
    for name in names:
        problem = verifier.problem(run, name)
        failed += problem is not None
        write(f"not proven  {name}: {problem}\n" if problem else f"valid       {name}\n", None)
    return int(failed > 0)
