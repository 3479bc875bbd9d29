"""The web process: Django behind the guard of uploads, all under a request id."""

import os

import django
from django.core.handlers.asgi import ASGIHandler

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "whisperhub.settings")

django.setup(set_prefix=False)

from django.conf import settings  # noqa: E402  (needs the line above)

from whisperhub.descriptors import allow_many_descriptors  # noqa: E402
from whisperhub.forms import FormRequest  # noqa: E402
from whisperhub.request_id import RequestIdLayer  # noqa: E402
from whisperhub.uploads import UploadGuard  # noqa: E402


class Handler(ASGIHandler):
    """Django's own, for requests whose form is there already."""

    request_class = FormRequest


# Each upload that comes in holds a connection and a file.
allow_many_descriptors()

application = RequestIdLayer(
    UploadGuard(
        Handler(),  # type: ignore[arg-type]
        max_file_bytes=settings.MAX_UPLOAD_BYTES,
        max_request_bytes=settings.MAX_REQUEST_BYTES,
        min_free_bytes=settings.MIN_FREE_BYTES,
        silence_seconds=settings.UPLOAD_SILENCE_SECONDS,
    )
)
