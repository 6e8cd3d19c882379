"""The backend for PyTorch Lightning: it reads the ``.ckpt`` files of ``ModelCheckpoint``.

PYTEST_DONT_REWRITE: pytest would rewrite the assertions of a distribution that brings a plugin for it, and complain
where a program has imported it before.
"""
