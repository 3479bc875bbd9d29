"""The models on this machine: where they come from, whether they are whole.

Needs no Django: `manage.py models`, `workers/default_model.py` and the engines use it
alike. Only the hub asks a library, faster-whisper's, for its names of models.
"""
