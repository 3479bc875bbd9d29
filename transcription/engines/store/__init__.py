"""The models on this machine: where they come from, whether they are whole.

Needs no Django and no engine's library: `manage.py models`, the admin and the engines
use it alike.
"""
