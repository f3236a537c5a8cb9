"""``python -m flowloom_registry`` is the command ``flowloom``."""

from __future__ import annotations

import sys

from flowloom_registry.cli import main

sys.exit(main())
