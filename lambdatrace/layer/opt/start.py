# Starts the agent, if this Python is new enough. Runs under any Python 3, also one far too old.
import os
import sys

here = os.path.dirname(os.path.abspath(__file__))
if sys.version_info < (3, 11):
    idle = os.path.join(os.path.dirname(here), "idle")
    why = "it needs Python 3.11 or newer, and this is %d.%d" % sys.version_info[:2]
    os.execv(idle, [idle, why])

sys.path.insert(0, here)

from lambdatrace.agent.__main__ import main

sys.exit(main())
