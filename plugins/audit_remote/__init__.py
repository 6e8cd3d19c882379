"""Runs behind a URL: ``s3://``, ``gs://`` and ``az://`` by obstore, ``hf://`` and others by fsspec.

PYTEST_DONT_REWRITE: pytest would rewrite the assertions of a distribution that brings a plugin for it, and complain
where a program has imported it before.
"""
