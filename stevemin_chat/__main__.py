"""`python -m stevemin_chat`."""

import sys

from stevemin_chat.cli.main import main

sys.exit(main())
