"""The loss continues across every resume: no jump, no sawtooth, no dead run."""
