"""`python -m starberg` is the command line."""

import sys

from starberg.entrypoints.cli import main

sys.exit(main())
