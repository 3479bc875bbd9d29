"""Settings of the test run: everything in a folder of its own, short waits.

Variables of the developer's own service must not reach the tests; only
WHISPERHUB_DATABASE_URL does, so that the suite runs on any of the databases.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from tests.support.processes import MODELS_VARIABLE, ONE_OF_EACH

for _name in list(os.environ):
    if _name.startswith("WHISPERHUB_") and _name != "WHISPERHUB_DATABASE_URL":
        del os.environ[_name]

# Short, because the path of the broker's socket lies below it.
_data_dir = Path(tempfile.mkdtemp(prefix="wh-test-"))


def _remove_data_dir(made_by: int = os.getpid()) -> None:
    if os.getpid() == made_by:
        shutil.rmtree(_data_dir, ignore_errors=True)


atexit.register(_remove_data_dir)

# The demo model is spread out once for all processes of the run.
if MODELS_VARIABLE not in os.environ:
    os.environ[MODELS_VARIABLE] = str(_data_dir / "models")

os.environ |= {
    "WHISPERHUB_ENV_FILE": os.devnull,
    "WHISPERHUB_DATA_DIR": str(_data_dir),
    "WHISPERHUB_MODEL_DIR": os.environ[MODELS_VARIABLE],
    "WHISPERHUB_LOG_TO_FILE": "false",
    "WHISPERHUB_LEASE_SECONDS": "3",
    "WHISPERHUB_HEARTBEAT_SECONDS": "0.3",
    "WHISPERHUB_DISPATCH_SECONDS": "0.3",
    # Nothing listens there: a test that wants a broker starts one.
    "WHISPERHUB_BROKER_URL": f"redis+socket://{_data_dir}/none.sock?virtual_host=0",
    "WHISPERHUB_CPU_THREADS": "1",
    **ONE_OF_EACH,
    # The tests' own servers.
    "WHISPERHUB_OUTGOING_ALLOWED": "127.0.0.0/8",
    "WHISPERHUB_OUTGOING_PORTS": "80,443,1024-65535",
    "WHISPERHUB_SILENCED_CHECKS": "whisperhub.W009",
}

# As the launcher has it for a slot: model threads that spin would starve the tests'
# other processes, and themselves.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from whisperhub.settings import *  # noqa: E402, F403
from whisperhub.settings import DATABASES, INSTALLED_APPS  # noqa: E402

# A kind of held work that the product does not know. It has no migrations: only test
# databases have its table.
INSTALLED_APPS = [*INSTALLED_APPS, "tests.held_work"]

if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # A file, so that worker processes share it.
    DATABASES["default"]["TEST"] = {"NAME": str(_data_dir / "test.sqlite3")}

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
