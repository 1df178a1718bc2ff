# Starts the agent, if this Python is new enough. Runs under any Python 3, also one far too old.
import os
import sys

here = os.path.dirname(os.path.abspath(__file__))
if sys.version_info < (3, 11):
    idle = os.path.join(os.path.dirname(here), "idle")
    why = "it needs Python 3.11 or newer, and this is %d.%d" % sys.version_info[:2]
    os.execv(idle, [idle, why])

sys.path.insert(0, here)


# The modules as this Python has compiled them, if layer/build.py was given one: a file instead of
# two for each module, which is a quarter less to import them. Otherwise their sources stand here.
class Compiled:
    def __init__(self, path: str) -> None:
        import marshal
        from _frozen_importlib import ModuleSpec
        from _frozen_importlib_external import MAGIC_NUMBER

        self.spec, self.read = ModuleSpec, marshal.loads
        self.modules = {}  # type: dict[str, tuple[bool, bytes]]
        try:
            with open(path, "rb") as file:
                if file.read(len(MAGIC_NUMBER)) == MAGIC_NUMBER:
                    self.modules = marshal.loads(file.read())
        except (OSError, EOFError, ValueError, TypeError):
            pass

    def find_spec(self, name: str, path: object = None, target: object = None) -> object:
        if name not in self.modules:
            return None
        place = os.path.join(here, *name.split("."))
        is_package, _ = self.modules[name]
        origin = os.path.join(place, "__init__.py") if is_package else place + ".py"
        spec = self.spec(name, self, origin=origin, is_package=is_package)  # type: ignore[arg-type]
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [place]
        return spec

    def create_module(self, spec: object) -> None:
        return None

    def exec_module(self, module: object) -> None:
        exec(self.read(self.modules[module.__name__][1]), module.__dict__)  # type: ignore[attr-defined]


bundle = os.path.join(here, "compiled.%s" % sys.implementation.cache_tag)
sys.meta_path.insert(0, Compiled(bundle))  # type: ignore[arg-type]

from lambdatrace.agent.__main__ import main

sys.exit(main())
