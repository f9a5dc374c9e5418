"""`python -m clnet`: the `clnet` command."""

import sys

from clnet.cli import main

if __name__ == "__main__":
    sys.exit(main())
