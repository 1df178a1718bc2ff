# Starts the agent, if this Python is new enough. Runs under any Python 3, also one far too old.
import os
import sys

here = os.path.dirname(os.path.abspath(__file__))


# Lambda fails the invocations of a function whose extension ends.
def stand_in(why: str) -> None:
    idle = os.path.join(os.path.dirname(here), "idle")
    os.execv(idle, [idle, why])


if sys.version_info < (3, 11):
    stand_in("it needs Python 3.11 or newer, and this is %d.%d" % sys.version_info[:2])

sys.path.insert(0, here)


# The modules as this Python has compiled them, if layer/build.py was given one: a file instead of
# two for each module, of which only what is imported is read. Otherwise their sources stand here.
class Compiled:
    def __init__(self, path: str) -> None:
        import marshal
        from _frozen_importlib import ModuleSpec
        from _frozen_importlib_external import MAGIC_NUMBER

        self.spec, self.load = ModuleSpec, marshal.loads
        self.modules = {}  # type: dict[str, tuple[bool, int, int]]
        try:
            self.file = os.open(path, os.O_RDONLY)
            head = os.read(self.file, 8192)
            start = 8 + int.from_bytes(head[4:8], "little")
            if head[:4] == MAGIC_NUMBER:
                modules = marshal.loads(head[8:start])
                _, begin, size = list(modules.values())[-1]
                if os.fstat(self.file).st_size == start + begin + size:
                    self.modules, self.start = modules, start
        except (OSError, EOFError, ValueError, TypeError, IndexError):
            pass

    def find_spec(self, name: str, path: object = None, target: object = None) -> object:
        if name not in self.modules:
            return None
        place = os.path.join(here, *name.split("."))
        is_package = self.modules[name][0]
        origin = os.path.join(place, "__init__.py") if is_package else place + ".py"
        spec = self.spec(name, self, origin=origin, is_package=is_package)  # type: ignore[arg-type]
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [place]
        return spec

    def create_module(self, spec: object) -> None:
        return None

    def exec_module(self, module: object) -> None:
        name = module.__name__  # type: ignore[attr-defined]
        _, begin, size = self.modules[name]
        code = self.load(os.pread(self.file, size, self.start + begin))
        exec(code, module.__dict__)


bundle = os.path.join(here, "compiled.%s" % sys.implementation.cache_tag)
sys.meta_path.insert(0, Compiled(bundle))  # type: ignore[arg-type]

try:
    from lambdatrace.agent.__main__ import main

    code = main()
# A Python without what the agent needs, a layer that is not whole.
except Exception as error:  # noqa: BLE001
    stand_in("the agent failed: %s: %s" % (type(error).__name__, error))
sys.exit(code)
