"""The transcription application."""

from django.apps import AppConfig


class TranscriptionConfig(AppConfig):
    """Tasks, transcripts and everything that moves them."""

    name = "transcription"
    verbose_name = "Transcription"
