"""The agent: runs beside the function, writes what the probe saw, never harms the function."""
