"""The backend for accelerate: it reads what ``Accelerator.save_state`` writes.

PYTEST_DONT_REWRITE: pytest would rewrite the assertions of a distribution that brings a plugin for it, and complain
where a program has imported it before.
"""
