"""The one exception that stands for all that must not happen."""


class Refused(Exception):
    """An effect that must not happen. `kind`: as in MigrationError; `statement`: the one that would have had it."""

    def __init__(self, kind, message, statement=None):
        super().__init__(message)
        self.kind = kind
        self.statement = statement
