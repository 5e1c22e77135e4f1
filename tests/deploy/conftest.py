"""What the tests of deploy/ share."""

import sys
from pathlib import Path

# The clients that the tests of the API use serve here, too.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "api"))

from watching import start_prometheus, watched  # noqa: E402, F401  fixtures
