"""The last resort: sees by looking, at what the kernel tells anybody of his own processes."""
