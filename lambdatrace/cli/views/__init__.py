"""Renderables: each view takes a result and returns something rich can draw; none prints."""
