"""The web process: Django behind the guard of uploads, all under a request id."""

import os
import tempfile

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "whisperhub.settings")

django_application = get_asgi_application()

from django.conf import settings  # noqa: E402  (needs the line above)

from whisperhub.request_id import RequestIdLayer  # noqa: E402
from whisperhub.uploads import UploadGuard  # noqa: E402

# Django spools a body in the default temporary folder and offers no setting for it:
# that folder may be memory, and the guard looks at the media volume's space.
tempfile.tempdir = str(settings.FILE_UPLOAD_TEMP_DIR)

application = RequestIdLayer(
    UploadGuard(
        django_application,  # type: ignore[arg-type]
        max_bytes=settings.MAX_UPLOAD_BYTES,
        min_free_bytes=settings.MIN_FREE_BYTES,
        folder=settings.FILE_UPLOAD_TEMP_DIR,
    )
)
