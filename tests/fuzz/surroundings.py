"""What the fuzzer's own process is told of the service, by its environment."""

from __future__ import annotations

import os
from typing import Final

OWNER: Final = "fuzz"
SERVICE_URL: Final = os.environ.get("FUZZ_SERVICE_URL", "")
SERVICE_KEY: Final = os.environ.get("FUZZ_SERVICE_KEY", "")
KEY_ID: Final = os.environ.get("FUZZ_KEY_ID", "")
MEDIA_URL: Final = os.environ.get("FUZZ_MEDIA_URL", "")
