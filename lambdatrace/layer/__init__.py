"""The Lambda layer: what is in it, building it, and bringing it to functions and away again.

The agent is taken as files, never imported.
"""
