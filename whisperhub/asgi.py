"""The web process: Django behind the guard of uploads, all under a request id."""

import gc
import os
from typing import Final

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "whisperhub.settings")

django.setup(set_prefix=False)

from django.conf import settings  # noqa: E402  (needs the line above)

from whisperhub.network.proxies import ForwardedLayer  # noqa: E402
from whisperhub.web.descriptors import allow_many_descriptors  # noqa: E402
from whisperhub.web.handler import Handler, takes_file  # noqa: E402
from whisperhub.web.request_id import RequestIdLayer  # noqa: E402
from whisperhub.web.uploads import BodyLimits, UploadGuard  # noqa: E402

# They take turns with the interpreter: more of them only wait for each other. Fewer
# would let it idle while they wait for the database.
THREADS: Final = 4
# Further requests without a key and a session wait for each other.
STRANGERS: Final = 1

# Each upload that comes in holds a connection and a file.
allow_many_descriptors()

handler = Handler(threads=THREADS, strangers=STRANGERS)
guarded = UploadGuard(
    handler,
    takes_file=takes_file,
    preflight=handler.preflight,
    limits=BodyLimits(
        max_file_bytes=settings.MAX_UPLOAD_BYTES,
        max_request_bytes=settings.MAX_REQUEST_BYTES,
        max_memory_bytes=settings.BODY_MEMORY_BYTES,
        min_free_bytes=settings.MIN_FREE_BYTES,
        silence_seconds=settings.UPLOAD_SILENCE_SECONDS,
        upload_seconds=settings.UPLOAD_SECONDS,
        body_seconds=settings.BODY_SECONDS,
    ),
)
application = RequestIdLayer(ForwardedLayer(guarded, settings.TRUSTED_PROXIES))

# What is loaded by now stays. To look through it again and again for garbage would
# stop all requests for a tenth of a second each time.
gc.collect()
gc.freeze()
