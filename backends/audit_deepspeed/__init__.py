"""The backend for DeepSpeed without Trainer around it: it reads what the engine's ``save_checkpoint`` writes.

PYTEST_DONT_REWRITE: pytest would rewrite the assertions of a distribution that brings a plugin for it, and complain
where a program has imported it before.
"""
