"""Executions in forms that other programs read; nothing here prints, or knows a store."""
