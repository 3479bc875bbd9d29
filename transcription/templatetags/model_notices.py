"""What every page of the admin says of the models that are served."""

from __future__ import annotations

from django import template

from transcription.services import serving

register = template.Library()


@register.simple_tag
def model_notices() -> list[str]:
    """The notices of live models, each once."""
    return sorted({slot.notice for slot in serving.live_slots() if slot.notice})
