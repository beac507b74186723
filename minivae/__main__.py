"""``python -m minivae`` is the command ``minivae``."""

import sys

from minivae.command.cli import main

sys.exit(main())
