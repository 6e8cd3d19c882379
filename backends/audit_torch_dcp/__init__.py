"""The backend for torch.distributed.checkpoint: it reads what ``dcp.save`` writes, by itself or for torchtitan.

PYTEST_DONT_REWRITE: pytest would rewrite the assertions of a distribution that brings a plugin for it, and complain
where a program has imported it before.
"""
