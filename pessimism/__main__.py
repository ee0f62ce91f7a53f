"""``python -m pessimism`` is the console script ``pessimism``."""

import sys

from pessimism.cli.main import main

sys.exit(main())
