"""The service on port 8084: its status, and the incidents. Nothing of it migrates the database: that is declared."""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import sqlalchemy as sa

from ops_center.database import WORKS_AT, create_engine, revision

STATUS = "/api/v1/system/status"
INCIDENTS = "/api/v1/incidents"

engine = create_engine()


def status() -> tuple[int, object]:
    """200 only where the database is at a revision that this code works with."""
    with engine.connect() as connection:
        current = revision(connection)
    body = {"status": "ok" if current in WORKS_AT else "wrong revision", "revision": current, "worksAt": sorted(WORKS_AT)}
    return (200 if current in WORKS_AT else 503), body


def incidents() -> tuple[int, object]:
    """The newest hundred."""
    with engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT * FROM incidents ORDER BY id DESC LIMIT 100")).mappings()
        return 200, [dict(row) for row in rows]


def report(given: dict[str, str]) -> tuple[int, object]:
    """An incident: `{"site": "north", "title": "door open", "severity": "high"}`; a new site is added."""
    with engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO sites (name) VALUES (:site) ON CONFLICT DO NOTHING"), {"site": given["site"]})
        row = connection.execute(
            sa.text(
                "INSERT INTO incidents (site_id, title, severity) "
                "SELECT id, :title, :severity FROM sites WHERE name = :site RETURNING id"
            ),
            {"severity": "low", **given},
        ).one()
    return 201, {"id": row.id}


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.answer({STATUS: status, INCIDENTS: incidents}.get(self.path))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer((lambda: report(json.loads(body))) if self.path == INCIDENTS else None)

    def answer(self, page) -> None:
        try:
            code, content = (404, {"try": [STATUS, INCIDENTS]}) if page is None else page()
        except sa.exc.SQLAlchemyError as error:
            # With the statement: it is what whoever reads this log looks for.
            print(f"ERROR {error}", file=sys.stderr)
            code, content = 503, {"status": "unavailable", "problem": type(error).__name__}
        except (KeyError, ValueError) as error:
            code, content = 400, {"problem": repr(error)}
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(content, default=str).encode() + b"\n")


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ThreadingHTTPServer(("", int(os.environ.get("PORT", "8084"))), Page).serve_forever()


if __name__ == "__main__":
    main()
