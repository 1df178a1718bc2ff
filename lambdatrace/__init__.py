"""lambdatrace: where the time of one slow Lambda execution went, seen from the kernel."""

__version__ = "0.1.0"
