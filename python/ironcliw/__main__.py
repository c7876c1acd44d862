"""`python -m ironcliw` is `ironcliw`."""

import sys

from ironcliw.cli import main

sys.exit(main())
