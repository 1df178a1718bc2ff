"""Run a Python handler under AWS's own Lambda emulator, with the agent as a real extension.

Knows nothing of the agent but the command that starts it.
"""

from __future__ import annotations

from lambdatrace.emulator.environment import agent_command
from lambdatrace.emulator.rie import Emulator, Invocation, find_rie

__all__ = ["Emulator", "Invocation", "agent_command", "find_rie"]
