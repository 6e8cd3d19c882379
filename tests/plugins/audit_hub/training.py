"""A tiny training with the real Trainer in a process of its own: ``RUN KEEP [CHECKPOINT]``."""

import logging
import sys


def main(run: str, keep: str, resume: str = "") -> None:
    """Train to step 6 with a save every 2 steps, of which ``keep`` stay; from the beginning or a checkpoint."""
    from audit_hf_trainer import AuditCallback
    from audit_hub import HubCallback
    from tests.backends.hf_trainer.fitting import fit, lora

    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s", stream=sys.stderr)
    callbacks = [AuditCallback(), HubCallback(repo="{user}/tiny-{step}")]
    limit = {"max_steps": 6, "save_steps": 2, "save_total_limit": int(keep)}
    fit(run, lora(), callbacks=callbacks, resume=resume or None, **limit)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(*sys.argv[1:])
