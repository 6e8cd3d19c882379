"""The loss continues over every resume: no jump, no sawtooth, no dead run."""
