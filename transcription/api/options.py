"""The decode options as request fields: types, bounds, explanations."""

from __future__ import annotations

import re
from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from transcription.engines.languages import AUTO, LANGUAGE_PATTERN, language_code
from transcription.engines.options import (
    BATCHING,
    MOST_HYPOTHESES,
    OPTION_NAMES,
    DecodeOptions,
    VadParameters,
)
from whisperhub.api.fields import (
    ClipTimestampsField,
    JsonObjectField,
    NullableNumberField,
    NumbersField,
    OneOfField,
    RequestSerializer,
    TextField,
    ZeroIsNoneField,
)

TEXT_LENGTH = 2000
DAY_SECONDS = 86_400
# As many tracks as a file may have; see `media.opening`, which this process does not
# import.
MAX_TRACK = 63
TRACK_NUMBERS = "|".join(str(number) for number in range(MAX_TRACK + 1))
NUMBER = re.compile(r"[+-]?[0-9]{1,9}", re.ASCII)
LEAST_SPEECH_MS = 200
LANGUAGE_LENGTH = 100
LANGUAGE_OR_AUTO_PATTERN = LANGUAGE_PATTERN.replace("^(", f"^({AUTO}|", 1)


class VadParametersSerializer(serializers.Serializer[Any]):
    """How voice activity is told from silence."""

    threshold = serializers.FloatField(required=False, min_value=0, max_value=1)
    neg_threshold = serializers.FloatField(
        required=False, allow_null=True, min_value=0, max_value=1
    )
    min_speech_duration_ms = serializers.IntegerField(
        required=False, min_value=0, max_value=60_000
    )
    max_speech_duration_s = serializers.FloatField(
        required=False, allow_null=True, min_value=1, max_value=DAY_SECONDS
    )
    min_silence_duration_ms = serializers.IntegerField(
        required=False, min_value=0, max_value=60_000
    )
    speech_pad_ms = serializers.IntegerField(
        required=False, min_value=0, max_value=10_000
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Leave room for speech between the pads: else it is cut to shreds."""
        longest = attrs.get("max_speech_duration_s")
        pad_ms = attrs.get("speech_pad_ms", VadParameters.speech_pad_ms)
        if longest is not None and longest * 1000 < 2 * pad_ms + LEAST_SPEECH_MS:
            raise serializers.ValidationError(
                {
                    "max_speech_duration_s": _(
                        "Give at least {ms} ms more than twice speech_pad_ms."
                    ).format(ms=LEAST_SPEECH_MS)
                },
                code="too_short",
            )
        return attrs


@extend_schema_field(VadParametersSerializer)
class VadParametersField(JsonObjectField):
    """The parameters as an object, or as its JSON text in a form."""


@extend_schema_field({"type": "string", "pattern": LANGUAGE_PATTERN})
class LanguageField(TextField):
    """A language by Whisper's code, its BCP 47 tag or its English name: the code."""

    default_error_messages = {
        "invalid_choice": _(
            '"{input}" is not a language that Whisper knows. Give its code, such as '
            "en, or its name in English."
        ),
    }

    def __init__(self, **kwargs: Any) -> None:
        """Bound the length: what is refused is quoted."""
        super().__init__(max_length=LANGUAGE_LENGTH, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        """Whisper's code."""
        text = super().to_internal_value(data)
        code = language_code(text)
        if code is None:
            self.fail("invalid_choice", input=text)
        return code


@extend_schema_field({"type": "string", "pattern": LANGUAGE_OR_AUTO_PATTERN})
class SpokenLanguageField(LanguageField):
    """The language of a recording; empty if it is to be detected."""

    default_error_messages = {
        "invalid_choice": _(
            '"{input}" is not a language that Whisper knows. Give its code, such as '
            "en, its name in English, or auto to have it detected."
        ),
    }

    def to_internal_value(self, data: Any) -> str:
        """Whisper's code, or nothing."""
        if isinstance(data, str) and data.strip().casefold() == AUTO:
            return ""
        return super().to_internal_value(data)


@extend_schema_field(
    {
        "oneOf": [
            {"type": "integer", "minimum": 0, "maximum": MAX_TRACK},
            {"type": "string", "pattern": f"{LANGUAGE_PATTERN}|^({TRACK_NUMBERS})$"},
        ]
    }
)
class AudioTrackField(LanguageField):
    """A track of the media: its index as a number, or its language; kept as text."""

    default_error_messages = {
        "invalid_choice": _(
            '"{input}" is neither the number of a track, from 0 to {most}, nor a '
            "language that Whisper knows."
        ),
    }

    def to_internal_value(self, data: Any) -> str:
        """The number as text, or Whisper's code of the language."""
        is_number = isinstance(data, int) and not isinstance(data, bool)
        text = str(data) if is_number else data
        if isinstance(text, str) and NUMBER.fullmatch(text.strip()):
            if not 0 <= int(text) <= MAX_TRACK:
                self.fail("invalid_choice", input=text.strip()[:20], most=MAX_TRACK)
            return str(int(text))
        checked = TextField.to_internal_value(self, text)
        code = language_code(checked)
        if code is None:
            self.fail("invalid_choice", input=checked, most=MAX_TRACK)
        return code


AUDIO_TRACK_HELP = _(
    "Which of several audio tracks: its number, from 0, or its language. Left out: the "
    "default one, or the first with sound in it. The task lists all tracks."
)


class DecodeOptionsSerializer(RequestSerializer):
    """Fields left out keep the engine's defaults; see `engines.options`."""

    temperature = NumbersField(
        least=0,
        most=1,
        count=10,
        text_number=r"(0(\.[0-9]+)?|1(\.0+)?)",
        required=False,
        help_text=_(
            "One, or several that are tried in turn. Default 0,0.2,…,1. `beam_size` at "
            "0, and `best_of` at each other one, may come to 60 in all."
        ),
    )
    beam_size = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=20,
        help_text=_("Hypotheses kept at temperature 0. Default 5."),
    )
    best_of = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=20,
        help_text=_("Samples drawn above temperature 0. Default 5."),
    )
    patience = serializers.FloatField(
        required=False,
        min_value=0.1,
        max_value=10,
        help_text=_("How long the beam search goes on. Default 1."),
    )
    length_penalty = serializers.FloatField(
        required=False,
        min_value=0,
        max_value=1,
        help_text=_("How much the length of a hypothesis counts. Default 1."),
    )
    compression_ratio_threshold = NullableNumberField(
        required=False,
        min_value=0,
        max_value=100,
        help_text=_("A window more repetitive than this is tried again. Default 2.4."),
    )
    log_prob_threshold = NullableNumberField(
        required=False,
        min_value=-100,
        max_value=0,
        help_text=_("A window less probable than this is tried again. Default -1."),
    )
    no_speech_threshold = NullableNumberField(
        required=False,
        min_value=0,
        max_value=1,
        help_text=_("A doubtful window more silent than this is dropped. Default 0.6."),
    )
    condition_on_previous_text = serializers.BooleanField(
        required=False,
        help_text=_("Show each window the text before it. Default false."),
    )
    initial_prompt = TextField(
        required=False,
        allow_blank=True,
        max_length=TEXT_LENGTH,
        help_text=_("Text that sets style and spelling."),
    )
    hotwords = TextField(
        required=False,
        allow_blank=True,
        max_length=TEXT_LENGTH,
        help_text=_("Words to expect. Not with openai-whisper."),
    )
    word_timestamps = serializers.BooleanField(
        required=False, help_text=_("Times for each word as well. Default false.")
    )
    prepend_punctuations = TextField(
        required=False,
        allow_blank=True,
        max_length=100,
        trim_whitespace=False,
        help_text=_("Marks that belong to the word after them."),
    )
    append_punctuations = TextField(
        required=False,
        allow_blank=True,
        max_length=100,
        trim_whitespace=False,
        help_text=_("Marks that belong to the word before them."),
    )
    clip_timestamps = ClipTimestampsField(
        least=0,
        most=DAY_SECONDS,
        count=200,
        text_number=(
            r"([0-9]{1,4}|[1-7][0-9]{4}|8[0-5][0-9]{3}|86[0-3][0-9]{2})(\.[0-9]+)?"
        ),
        required=False,
        help_text=_(
            "Transcribe only from start to end, start to end, … in seconds; each clip "
            "lasts 0.5 s at least. More clips than the recording has windows of 30 s "
            "count as 30 s of audio each."
        ),
    )
    hallucination_silence_threshold = ZeroIsNoneField(
        required=False,
        min_value=0,
        max_value=3600,
        help_text=_("Drop doubtful text within silence longer than this, in seconds."),
    )
    vad_filter = serializers.BooleanField(
        required=False,
        help_text=_(
            "Cut out stretches without speech first. Default true. Not with "
            "openai-whisper."
        ),
    )
    multilingual = serializers.BooleanField(
        required=False,
        help_text=_(
            "Detect the language for each chunk of about 10 s, and write it at each "
            "segment. Default false: the whole is transcribed in one language. Not "
            "with openai-whisper, nor with `language`."
        ),
    )
    batching = OneOfField(
        choices=[(choice, choice) for choice in BATCHING],
        required=False,
        help_text=_(
            "`auto`: as fast as can be. `off`: as the engine's own library decodes, "
            "window after window. Default auto."
        ),
    )
    vad_parameters = VadParametersField(
        checker=VadParametersSerializer,
        required=False,
        help_text=_("Settings of the voice activity filter. Not with openai-whisper."),
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Bound what a badly decoded window costs."""
        checked: dict[str, Any] = super().validate(attrs)
        options = DecodeOptions.from_dict(
            {name: checked[name] for name in OPTION_NAMES if name in checked}
        )
        if options.hypotheses > MOST_HYPOTHESES:
            raise serializers.ValidationError(
                {
                    "temperature": _(
                        "These temperatures ask for {asked} hypotheses: beam_size at "
                        "0, and best_of at each other one. At most {most} are "
                        "allowed. Lower best_of, or give fewer temperatures."
                    ).format(asked=options.hypotheses, most=MOST_HYPOTHESES)
                },
                code="too_many_hypotheses",
            )
        return checked

    def given_options(self) -> dict[str, Any]:
        """The decode options in the request, normalised."""
        return {
            name: value
            for name, value in self.validated_data.items()
            if name in OPTION_NAMES
        }
