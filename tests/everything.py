"""Whether every case of the large tables is run, as in `.ci/run`, or a share of them."""

from __future__ import annotations

import os
from typing import Final

ALL: Final = bool(os.environ.get("HOSTUP_TESTS_ALL"))
"""The default run takes a share, so that it ends within three minutes on two cores."""
