"""lambdatrace: where the time of one slow Lambda execution went, seen from the kernel."""

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambdatrace.api import open_store

__all__ = ["__version__", "open_store"]


def __getattr__(name: str) -> object:
    # The agent imports this module at cold start: it must load nothing.
    if name == "open_store":
        from importlib import import_module

        return import_module("lambdatrace.api").open_store
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
