"""The lines to and from the controller.

Whatever env.py, migrations and their subprocesses print goes to stderr; answers go to a copy of stdout that
nobody else knows, each line after a nonce.
"""
import gc
import json
import os
import queue
import signal
import sys
import threading
import traceback


class Channel:
    def __init__(self, requests):
        self._lines = requests
        self._queue = queue.Queue()
        self._main = threading.get_ident()
        self._process = os.getpid()
        self._write_lock = threading.Lock()
        self._out = os.dup(1)
        self._prints = os.dup(2)
        os.dup2(2, 1)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        opening = json.loads(self._lines.readline())
        self._nonce = opening["nonce"]
        self.settings = opening["settings"]

    def watch(self):
        threading.Thread(target=self._read, name="migration-target", daemon=True).start()

    def _read(self):
        """When the controller is gone (end of file), so is this process: the server then rolls back its transaction."""
        self._watch_requests()
        self._end()

    def _watch_requests(self):
        for line in self._lines:
            message = json.loads(line)
            if "abort" in message:
                return self.send({"stuck": self._where()})
            self._queue.put(message)

    @staticmethod
    def _end():
        """With all that env.py started: a psql of a migration's must not go on alone."""
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(0)

    def _where(self):
        """The last lines of what the main thread is doing, innermost last."""
        frames = [sys._current_frames().get(self._main)]
        if "greenlet" in sys.modules:
            # An asynchronous env.py's migrations run in one, which rests while the event loop waits for the server.
            kind = sys.modules["greenlet"].greenlet
            frames += [one.gr_frame for one in gc.get_objects() if isinstance(one, kind) and one.gr_frame is not None]
        return [[f.filename, f.lineno, f.name] for frame in frames for f in traceback.extract_stack(frame)]

    def receive(self):
        return self._queue.get()

    def send(self, message):
        self._end_fork()
        self._write(self._out, self._nonce + json.dumps(message) + "\n")

    def answer(self, message):
        """The end of a request; the mark tells that nothing printed before it is still on its way."""
        self._end_fork()
        self._write(self._prints, "\n" + self._nonce.strip() + "\n")
        self.send(message)

    def _end_fork(self):
        """A child that a migration forked, and that came back out of it, has no answers to give."""
        if os.getpid() != self._process:
            os._exit(0)

    def _write(self, file, text):
        data = text.encode()
        with self._write_lock:
            while data:
                data = data[os.write(file, data):]
