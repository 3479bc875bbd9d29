"""The product: tasks, from the request to the result and its delivery.

Imports `accounts` and `whisperhub`; `workers` runs it. The order of its own packages is
in pyproject.toml.
"""
