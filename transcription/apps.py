"""The transcription application."""

from django.apps import AppConfig


class TranscriptionConfig(AppConfig):
    """Tasks, transcripts and everything that moves them."""

    name = "transcription"
    verbose_name = "Transcription"

    def ready(self) -> None:
        """Register what `manage.py check` looks at."""
        from transcription import checks  # noqa: F401
