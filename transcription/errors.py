"""The errors of the product: one tree, each with a stable code for clients.

WhisperHubError
├── MediaError                a file that cannot become samples: never retried
│   ├── InvalidMediaError     not media, or broken
│   ├── NoAudioError          media without an audio stream, or without a sample in it
│   └── MediaTooLongError     more audio than the operator allows
├── SubmissionError           a request that cannot become a task
│   ├── EmptyUploadError
│   ├── UploadTooLargeError
│   ├── StorageFullError
│   ├── UnknownModelError
│   ├── NotAvailableError     part of the interface, not built yet
│   ├── InvalidKeyError       an Idempotency-Key that is none
│   ├── KeyReusedError        another request had this key
│   ├── KeySpentError         the task that this key made was deleted
│   └── UnsupportedOptionError  the engine has no such option
├── TaskStateError            what is asked of a task does not fit its state
│   ├── AlreadyEndedError     there is nothing left to cancel
│   ├── NotWaitingError       it no longer waits: its priority is of no account
│   ├── NotRetryableError     it neither failed nor was cancelled
│   └── MediaGoneError        its media was deleted: it cannot start again
├── EngineError               inference failed: retried, then failed
│   └── ModelUnavailableError the model cannot be loaded on this machine
├── TaskCancelledError        the client withdrew the task while it ran
└── LeaseLostError            another process owns the task by now
"""

from __future__ import annotations


class WhisperHubError(Exception):
    """Base of all our errors.

    The message is a sentence for people; it never holds a server path or a secret.
    """

    code = "internal_error"
    http_status = 500
    retryable = False

    @property
    def message(self) -> str:
        """The sentence for people."""
        return str(self.args[0]) if self.args else type(self).__name__


class MediaError(WhisperHubError):
    """The media itself is at fault; another attempt would end the same way."""

    code = "invalid_media"
    http_status = 422


class InvalidMediaError(MediaError):
    """The bytes are no media we read, or too broken to decode."""


class NoAudioError(MediaError):
    """The media holds no audio."""

    code = "no_audio"


class MediaTooLongError(MediaError):
    """The media holds more audio than WHISPERHUB_MAX_MEDIA_SECONDS."""

    code = "media_too_long"


class SubmissionError(WhisperHubError):
    """A request that cannot become a task."""

    code = "invalid"
    http_status = 400


class EmptyUploadError(SubmissionError):
    """The uploaded file has no bytes."""

    code = "empty_file"


class UploadTooLargeError(SubmissionError):
    """The upload exceeds WHISPERHUB_MAX_UPLOAD_SIZE."""

    code = "file_too_large"
    http_status = 413


class StorageFullError(SubmissionError):
    """The media volume has too little free space for this upload."""

    code = "storage_full"
    http_status = 507


class UnknownModelError(SubmissionError):
    """The request names a model that no slot serves."""

    code = "unknown_model"


class NotAvailableError(SubmissionError):
    """A part of the interface that this release does not serve yet."""

    code = "not_available"


class InvalidKeyError(SubmissionError):
    """The Idempotency-Key is empty, too long, or not printable ASCII."""

    code = "invalid_idempotency_key"


class KeyReusedError(SubmissionError):
    """Another request came with this Idempotency-Key before."""

    code = "idempotency_key_reused"
    http_status = 409


class KeySpentError(SubmissionError):
    """The task that this request made was deleted; it is not made a second time."""

    code = "idempotent_task_deleted"
    http_status = 410


class UnsupportedOptionError(SubmissionError):
    """Decode options that the model's engine cannot honour.

    Attributes:
        names: the options.
    """

    code = "unsupported_option"

    def __init__(self, engine: str, names: list[str]) -> None:
        """Name engine and options."""
        super().__init__(f"The engine {engine} has no option {', '.join(names)}.")
        self.names = names


class TaskStateError(WhisperHubError):
    """The task is in a state that does not allow what is asked."""

    code = "conflict"
    http_status = 409


class AlreadyEndedError(TaskStateError):
    """The task has completed or failed."""

    code = "already_ended"


class NotWaitingError(TaskStateError):
    """The task runs or has ended."""

    code = "not_waiting"


class NotRetryableError(TaskStateError):
    """The task has not ended, or it has its result."""

    code = "not_retryable"


class MediaGoneError(TaskStateError):
    """The media of the task is no longer on the server."""

    code = "media_gone"


class EngineError(WhisperHubError):
    """The engine raised while it worked on a task."""

    code = "engine_error"
    retryable = True


class ModelUnavailableError(EngineError):
    """The model cannot be found, downloaded or loaded."""

    code = "model_unavailable"
    retryable = False


class TaskCancelledError(WhisperHubError):
    """The task was cancelled while a worker ran it."""

    code = "cancelled"
    http_status = 409


class LeaseLostError(WhisperHubError):
    """This process no longer owns the task: stop, and write nothing."""

    code = "lease_lost"
