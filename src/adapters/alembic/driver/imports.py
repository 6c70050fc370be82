"""Calls back as soon as a module has been imported, before whoever imported it gets to see it."""
import sys


class AfterImport:
    def __init__(self, callbacks):
        """`callbacks`: by the module's name; each gets the module."""
        self._callbacks = callbacks

    def install(self):
        for name, callback in self._callbacks.items():
            if name in sys.modules:
                callback(sys.modules[name])
        sys.meta_path.insert(0, self)

    def find_spec(self, name, path=None, target=None):
        callback = self._callbacks.get(name)
        if callback is None:
            return None
        spec = self._found_by_others(name, path, target)
        loader = getattr(spec, "loader", None)
        if loader is None:
            return spec
        execute = loader.exec_module

        def execute_and_call_back(module):
            execute(module)
            callback(module)

        # On the object: another loader would hide what else this one can do.
        loader.exec_module = execute_and_call_back
        return spec

    def _found_by_others(self, name, path, target):
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find and finder is not self else None
            if spec is not None:
                return spec
        return None
