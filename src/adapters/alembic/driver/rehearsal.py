"""What holds a rehearsal on its copy: connections are led there, and what would reach beyond it is refused."""
import json
import mmap
import os

from migration_target_driver.drivers import take_hold
from migration_target_driver.programs import Programs
from migration_target_driver.reach import reach
from migration_target_driver.redirect import Redirect
from migration_target_driver.refused import Refused

LARGEST = 64 * 1024
WAY_OUT = "Either do that outside of migrations, or have no rehearsal: spec.policy.rehearsal: Never."


class Rehearsal:
    def __init__(self, copy, application_name, refuse):
        """`refuse(kind, message, statement)` raises."""
        self._refuse = refuse
        self._process = os.getpid()
        #: Shared with forked children: an anonymous mapping is.
        self._told = mmap.mmap(-1, LARGEST)
        self._redirect = Redirect(copy, application_name, refuse)
        take_hold(self._redirect.lead, self.check)
        Programs(copy, self._escape).watch()

    def lead_in_place(self, driver, positional, named):
        """For SQLAlchemy's do_connect."""
        led, parameters = self._redirect.lead(driver, positional, named)
        positional[:] = led
        named.clear()
        named.update(parameters)

    def check(self, statement):
        """Before it runs."""
        found = reach(statement)
        if found is not None:
            self._escape(found.what, found.why, statement)

    def _escape(self, what, why, statement=None):
        self._refuse("escaped", "%s can't be rehearsed on a copy, since %s. %s" % (what, why, WAY_OUT), statement)

    def forget(self):
        self._told[:] = bytes(LARGEST)

    def tell_parent(self, refused):
        if os.getpid() == self._process:
            return
        said = json.dumps([refused.kind, "In a forked child: %s" % refused, (refused.statement or "")[:4000] or None])
        data = said.encode()
        if len(data) <= LARGEST and not any(self._told[:1]):
            self._told[: len(data)] = data

    def told_by_child(self):
        data = bytes(self._told).rstrip(b"\0")
        return Refused(*json.loads(data)) if data else None
