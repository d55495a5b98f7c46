"""`python -m zocket`: the same as the command `zocket`."""

import sys

from zocket.cli import main

sys.exit(main())
