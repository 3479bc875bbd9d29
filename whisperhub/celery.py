"""The Celery application; its options are in celeryconfig.py."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "whisperhub.settings")

app = Celery("whisperhub")
app.config_from_object("celeryconfig")
app.autodiscover_tasks(["transcription"])
