"""Imports that bring thousands of objects, which stay: looking for garbage among them is a tenth of the time."""
import contextlib
import gc


@contextlib.contextmanager
def importing():
    """Nothing is collected meanwhile, and what is there afterwards is never looked at again."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
