"""`python -m stevemin_chat`."""

import sys

from stevemin_chat.cli import main

sys.exit(main())
