"""Users, API keys with scopes and limits, usage, sign-in.

Imports `whisperhub` and no other app.
"""
