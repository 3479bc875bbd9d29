"""The web process: Django behind the guard of uploads."""

import gc
import os
import tempfile
from typing import Final

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "whisperhub.settings")

django.setup(set_prefix=False)

from django.conf import settings  # noqa: E402  (needs the line above)

from whisperhub.handler import Handler  # noqa: E402
from whisperhub.uploads import UploadGuard  # noqa: E402

# They take turns with the interpreter: more of them only wait for each other. Fewer
# would let it idle while they wait for the database.
THREADS: Final = 4

# Django spools a body in the default temporary folder and offers no setting for it:
# that folder may be memory, and the guard looks at the media volume's space.
tempfile.tempdir = str(settings.FILE_UPLOAD_TEMP_DIR)

application = UploadGuard(
    Handler(threads=THREADS),
    max_bytes=settings.MAX_UPLOAD_BYTES,
    min_free_bytes=settings.MIN_FREE_BYTES,
    folder=settings.FILE_UPLOAD_TEMP_DIR,
)

# What is loaded by now stays. To look through it again and again for garbage would
# stop all requests for a tenth of a second each time.
gc.collect()
gc.freeze()
