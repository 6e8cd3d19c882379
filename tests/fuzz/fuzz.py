"""Fuzz the readers, guided by coverage: ``tox run -e fuzz``, or ``tox run -e fuzz -- pickle archive --seconds 60``.

Needs atheris. What crashes, or takes more than 5 seconds or 600 MB, is written to ``crash-*``, ``timeout-*`` or
``oom-*``: mend the reader and put the input into ``corpus/READER/``, where test_corpus.py replays it.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"


def main() -> int:
    """Fuzz the readers named on the command line, all by default, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("readers", nargs="*")
    parser.add_argument("--seconds", type=int, default=600, help="for each reader (default: 600)")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        _fuzz(options.readers[0], options.seconds)
    from tests.fuzz.readers import READERS

    failed = []
    for name in options.readers or READERS:
        sys.stdout.write(f"-- {name}\n")
        sys.stdout.flush()
        command = [sys.executable, __file__, name, "--seconds", str(options.seconds), "--inside"]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    sys.stdout.write(f"failed: {', '.join(failed)}\n" if failed else "no reader failed\n")
    return bool(failed)


def _fuzz(name: str, seconds: int) -> None:
    import atheris

    inside = ["audit.data", "audit.facts", "audit.formats", "audit.judging", "audit.ledger", "audit_rules"]
    with atheris.instrument_imports(include=inside):
        from tests.fuzz.readers import READERS
    from tests.fuzz.seeds import seeds

    with tempfile.TemporaryDirectory() as grown, tempfile.TemporaryDirectory() as first:
        for number, seed in enumerate(seeds(name)):
            Path(first, str(number)).write_bytes(seed)
        kept = CORPUS / name
        folders = [grown, first, *([str(kept)] if kept.is_dir() else [])]
        flags = [
            f"-max_total_time={seconds}",
            "-timeout=5",
            "-rss_limit_mb=600",
            "-max_len=65536",
            "-len_control=0",  # the seeds are whole files
            "-print_final_stats=1",
        ]
        atheris.Setup([sys.argv[0], *flags, *folders], READERS[name])
        atheris.Fuzz()


if __name__ == "__main__":
    root = Path(__file__).parents[2]
    sys.path[:0] = [str(root)]
    sys.exit(main())
