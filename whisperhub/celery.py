"""The Celery application; its options are in celeryconfig.py."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "whisperhub.settings")
# Celery would run Django's checks in every worker and tell nobody what they found. They
# import all that web processes need: 0.4 s and 30 MB.
os.environ.setdefault("CELERY_SKIP_CHECKS", "true")

app = Celery("whisperhub")
app.config_from_object("celeryconfig")
app.autodiscover_tasks(["transcription"])
