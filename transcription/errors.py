"""The errors of the product: one tree, each with a stable code for clients.

WhisperHubError
├── MediaError                a file that cannot become samples: never retried
│   ├── InvalidMediaError     not media, or broken
│   │   ├── WebPageError      HTML
│   │   └── IncompleteMediaError  an MP4 file without its index
│   ├── NoAudioError          media without an audio stream, or without a sample in it
│   ├── NoSuchTrackError      none of its audio tracks is the one that is wanted
│   ├── MediaTooLongError     more audio than the operator allows
│   └── DecodingTooExpensiveError  more processor time than its length may cost
├── NoRoomError               the media volume cannot take the samples now; retried
├── FetchError                a link whose file did not come: the network; retried
│   ├── FetchTimeoutError     it took too long; retried
│   ├── FetchInterruptedError it broke off; retried
│   ├── FetchTlsError         no secure connection; retried
│   ├── RateLimitedError      asked too often; retried
│   ├── UpstreamError         its server failed; retried
│   ├── LinkBlockedError      it leads where this server may not go
│   ├── LinkNotFoundError     its server has no such file
│   ├── LinkIsPageError       it leads to a web page
│   ├── LinkForbiddenError    its server does not give it out
│   ├── LinkTooLargeError     more bytes than the operator allows
│   ├── BadRedirectError      it leads on to something that is no link, or for ever
│   └── BadAnswerError        its server answers with something that is no file
├── SubmissionError           a request that cannot become a task
│   ├── EmptyUploadError
│   ├── UploadTooLargeError
│   ├── StorageFullError
│   ├── UnknownModelError
│   ├── InvalidKeyError       an Idempotency-Key that is none
│   ├── KeyReusedError        another request had this key
│   ├── KeySpentError         the task that this key made was deleted
│   ├── PriorityNotAllowedError  above the highest of the API key
│   ├── QuotaError            the API key has no room for the task now
│   │   ├── AudioQuotaError   the audio of this day is used up
│   │   ├── QueueQuotaError   too many of its tasks have not ended
│   │   └── TooManyWaitingError  too many of its requests wait for their answers
│   ├── UnsupportedOptionError  the engine has no such option
│   ├── UnsupportedLanguageError  the model does not know the language
│   └── UnsupportedTaskError  the model knows English only
├── CallbackError             a callback, or its secret, that cannot be had as asked
│   ├── DeliveryUnderWayError it is being sent at this moment
│   ├── TooManyTestsError     test events of the same owner are on their way
│   └── TooManySecretsError   rotated more often than the overlap allows
├── TaskStateError            what is asked of a task does not fit its state
│   ├── AlreadyEndedError     there is nothing left to cancel
│   ├── NotWaitingError       it no longer waits: its priority is of no account
│   ├── NotRetryableError     it neither failed nor was cancelled
│   └── MediaGoneError        its media was deleted: it cannot start again
├── EngineError               inference failed: retried, then failed
│   └── ModelUnavailableError the model cannot be loaded on this machine
├── DecoderLostError          the process that decoded was ended from outside
├── TaskCancelledError        the client withdrew the task while it ran
└── LeaseLostError            another process owns the task by now
"""

from __future__ import annotations

from whisperhub.sentences import Sentence


class WhisperHubError(Exception):
    """Base of all our errors.

    The message is a sentence for people; it never holds a server path or a secret.
    """

    code = "internal_error"
    http_status = 500
    retryable = False
    # How long whoever caused it wants to be left alone.
    retry_after_seconds = 0.0

    @property
    def message(self) -> str:
        """The sentence for people; a `Sentence` can be said in other languages."""
        said = self.args[0] if self.args else type(self).__name__
        return said if isinstance(said, str) else str(said)


class MediaError(WhisperHubError):
    """The media itself is at fault; another attempt would end the same way."""

    code = "invalid_media"
    http_status = 422


class InvalidMediaError(MediaError):
    """The bytes are no media we read, or too broken to decode."""


class WebPageError(InvalidMediaError):
    """The file is a web page."""

    code = "html_file"


class IncompleteMediaError(InvalidMediaError):
    """An MP4 file without its index, which is written last."""

    code = "media_incomplete"


class NoAudioError(MediaError):
    """The media holds no audio."""

    code = "no_audio"


class NoSuchTrackError(MediaError):
    """The media has no audio track of the index or language that is wanted."""

    code = "no_such_track"


class MediaTooLongError(MediaError):
    """The media holds more audio than WHISPERHUB_MAX_MEDIA_SECONDS."""

    code = "media_too_long"


class DecodingTooExpensiveError(MediaError):
    """Decoding takes more processor time than the length of the audio may cost."""

    code = "decoding_too_expensive"


class NoRoomError(WhisperHubError):
    """The samples would use up the reserve of the media volume, or an owner's share."""

    code = "no_room"
    http_status = 507
    retryable = True

    def __init__(self, message: str = "") -> None:
        """Say it; there is one sentence."""
        super().__init__(
            message
            or Sentence(
                "The server has no room for the decoded audio of the file. Try again "
                "when other tasks have ended, or send it in parts."
            )
        )


class FetchError(WhisperHubError):
    """The file of a link did not come, for a reason that lies in the network.

    The message holds nothing that the other server sent but the number of its status.
    """

    code = "network"
    http_status = 502
    retryable = True
    sentence = Sentence("The server of the link could not be reached. Check its name.")

    def __init__(
        self, answered: int | None = None, *, retry_after_seconds: float = 0.0
    ) -> None:
        """Name the status that the server answered, if that is the reason.

        Args:
            answered: the status.
            retry_after_seconds: how long the server wants to be left alone.
        """
        super().__init__(
            self.sentence
            if answered is None
            else Sentence(
                "{sentence} Its server answered {status}.",
                sentence=self.sentence,
                status=answered,
            )
        )
        self.retry_after_seconds = retry_after_seconds


class FetchTimeoutError(FetchError):
    """Its server was silent, or WHISPERHUB_LINK_SECONDS were over."""

    code = "timeout"
    http_status = 504
    sentence = Sentence(
        "Fetching the link took too long. Try again, or upload the file."
    )


class FetchInterruptedError(FetchError):
    """Its server sent a part of the file, and then no more."""

    code = "interrupted"
    sentence = Sentence(
        "The server of the link broke off before the whole file had come. Check that "
        "the link gives the whole file, and try again, or upload the file."
    )


class FetchTlsError(FetchError):
    """Its server has no certificate that fits, or speaks no TLS."""

    code = "tls_failed"
    sentence = Sentence("The certificate of the link's server could not be verified.")


class RateLimitedError(FetchError):
    """Its server wants fewer requests."""

    code = "rate_limited"
    sentence = Sentence(
        "The server of the link gets too many requests. Try again later."
    )


class UpstreamError(FetchError):
    """Its server failed."""

    code = "upstream_error"
    sentence = Sentence("The server of the link failed. Try again later.")


class LinkBlockedError(FetchError):
    """It leads to an address or port that the operator does not allow."""

    code = "blocked_address"
    http_status = 422
    retryable = False
    sentence = Sentence(
        "The link leads to an address that this server may not reach. Upload the file."
    )


class LinkNotFoundError(FetchError):
    """Its server has no such file."""

    code = "not_found"
    http_status = 422
    retryable = False
    sentence = Sentence("There is no file at the link.")


class LinkIsPageError(FetchError):
    """It leads to HTML."""

    code = "web_page"
    http_status = 422
    retryable = False
    sentence = Sentence(
        "The link leads to a web page, not to audio or video. Give the direct address "
        "of the recording, or upload the file."
    )


class LinkForbiddenError(FetchError):
    """Its server does not give the file out."""

    code = "forbidden"
    http_status = 422
    retryable = False
    sentence = Sentence(
        "The link does not open without a login, or no more. Upload the file."
    )


class LinkTooLargeError(FetchError):
    """The file exceeds WHISPERHUB_MAX_LINK_SIZE."""

    code = "too_large"
    http_status = 422
    retryable = False
    sentence = Sentence("The file of the link is larger than this server takes.")


class BadRedirectError(FetchError):
    """It leads on to something that is no link, out of TLS, or for ever."""

    code = "bad_redirect"
    http_status = 422
    retryable = False
    sentence = Sentence(
        "The link leads on to where it cannot be followed. Give the last one."
    )


class BadAnswerError(FetchError):
    """Its server answers with something that is no file, or with a compressed one."""

    code = "bad_answer"
    http_status = 422
    retryable = False
    sentence = Sentence("The server of the link does not answer with a plain file.")


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


class PriorityNotAllowedError(SubmissionError):
    """The priority is above the highest of the API key."""

    code = "priority_not_allowed"
    http_status = 403


class QuotaError(SubmissionError):
    """The API key has used what it may use, or has too much waiting.

    Attributes:
        wait: seconds until it may be worth another try.
    """

    code = "quota_exceeded"
    http_status = 429

    def __init__(self, message: str, *, wait: int) -> None:
        """Tell how long to wait."""
        super().__init__(message)
        self.wait = wait


class AudioQuotaError(QuotaError):
    """The seconds of audio of this day are used up."""

    code = "audio_quota_exceeded"


class QueueQuotaError(QuotaError):
    """As many tasks as the key may have have not ended yet."""

    code = "queue_quota_exceeded"


class TooManyWaitingError(QuotaError):
    """As many requests of the key as may wait for their answers do so already."""

    code = "too_many_waiting"


class UnsupportedOptionError(SubmissionError):
    """Decode options that the model's engine cannot honour.

    Attributes:
        names: the options.
    """

    code = "unsupported_option"

    def __init__(self, engine: str, names: list[str]) -> None:
        """Name engine and options."""
        super().__init__(
            Sentence(
                "The engine {engine} has no option {names}.",
                engine=engine,
                names=", ".join(names),
            )
        )
        self.names = names


class UnsupportedLanguageError(SubmissionError):
    """The model does not know the language.

    Attributes:
        names: the fields that ask for it.
    """

    code = "unsupported_language"
    names = ("language",)

    def __init__(self, model: str, language: str) -> None:
        """Name model and language."""
        super().__init__(
            Sentence(
                "The model {name!r} does not know the language {language!r}. Choose "
                "another model: /api/v1/models/ lists the languages of each.",
                name=model,
                language=language,
            )
        )


class UnsupportedTaskError(SubmissionError):
    """The model knows English only: it neither translates nor tells languages apart.

    Attributes:
        names: the fields that ask for it.
    """

    code = "unsupported_task"
    names = ("model",)

    def __init__(self, model: str) -> None:
        """Name the model."""
        super().__init__(
            Sentence(
                "The model {name!r} knows English only: it neither translates nor "
                "detects languages. Choose another model.",
                name=model,
            )
        )


class CallbackError(WhisperHubError):
    """What was asked of a callback, or of the secret that signs it, cannot be done."""

    code = "callback_error"
    http_status = 409


class DeliveryUnderWayError(CallbackError):
    """The callback is being sent at this moment: begin it again when that is over."""

    code = "delivery_under_way"


class TooManyTestsError(CallbackError):
    """Test events of the same owner are still on their way."""

    code = "too_many_tests"
    http_status = 429


class TooManySecretsError(CallbackError):
    """So many former secrets are valid still that there may not be another one."""

    code = "too_many_secrets"


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


class DecoderLostError(WhisperHubError):
    """The process that decoded was ended, but not by the file."""

    code = "decoder_lost"


class TaskCancelledError(WhisperHubError):
    """The task was cancelled while a worker ran it."""

    code = "cancelled"
    http_status = 409


class LeaseLostError(WhisperHubError):
    """This process no longer owns the task: stop, and write nothing."""

    code = "lease_lost"
