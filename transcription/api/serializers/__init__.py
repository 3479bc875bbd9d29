"""What requests and answers look like; requests are checked, answers described.

The answers themselves are made by `transcription.documents`.
"""

from __future__ import annotations

from transcription.api.serializers.models import (
    ModelListSerializer,
    ServedModelSerializer,
)
from transcription.api.serializers.problems import (
    FieldErrorSerializer,
    ProblemSerializer,
)
from transcription.api.serializers.requests import (
    ResultQuerySerializer,
    SourceLinkSerializer,
    SourceSerializer,
    SourceUploadSerializer,
    SubtitleQuerySerializer,
    TaskChangeSerializer,
    TaskCreateSerializer,
    TaskLinkSerializer,
    TaskUploadSerializer,
)
from transcription.api.serializers.results import (
    PendingResultSerializer,
    ResultSerializer,
    SegmentSerializer,
    TimingsSerializer,
    WordSerializer,
)
from transcription.api.serializers.shared import (
    HeardLanguageField,
    LanguageDetectionSerializer,
    ModelUsedSerializer,
    NoticeSerializer,
)
from transcription.api.serializers.tasks import (
    AudioTrackSerializer,
    MediaSerializer,
    ProgressAndOutlookSerializer,
    ProgressSerializer,
    SecondsDoneField,
    TaskDetailSerializer,
    TaskErrorSerializer,
    TaskLinksSerializer,
    TaskSerializer,
)

__all__ = [
    "AudioTrackSerializer",
    "FieldErrorSerializer",
    "HeardLanguageField",
    "LanguageDetectionSerializer",
    "MediaSerializer",
    "ModelListSerializer",
    "ModelUsedSerializer",
    "NoticeSerializer",
    "PendingResultSerializer",
    "ProblemSerializer",
    "ProgressAndOutlookSerializer",
    "ProgressSerializer",
    "ResultQuerySerializer",
    "ResultSerializer",
    "SecondsDoneField",
    "SegmentSerializer",
    "ServedModelSerializer",
    "SourceLinkSerializer",
    "SourceSerializer",
    "SourceUploadSerializer",
    "SubtitleQuerySerializer",
    "TaskChangeSerializer",
    "TaskCreateSerializer",
    "TaskDetailSerializer",
    "TaskErrorSerializer",
    "TaskLinkSerializer",
    "TaskLinksSerializer",
    "TaskSerializer",
    "TaskUploadSerializer",
    "TimingsSerializer",
    "WordSerializer",
]
