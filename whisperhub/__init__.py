"""WhisperHub: speech to text on your own machines."""

from whisperhub.celery import app as celery_app

__all__ = ["celery_app"]
