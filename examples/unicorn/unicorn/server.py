"""The service, as far as this example needs it: `python -m unicorn.server` answers on port 8084 (or PORT)."""

import json
import os
from collections.abc import Callable, Iterable
from wsgiref.simple_server import make_server

import sqlalchemy as sa
from sqlalchemy.orm import Session

from unicorn.database import create_engine
from unicorn.models import Ticket

STATUS_PATH = "/api/v1/system/status"


def system_status() -> tuple[str, dict[str, object]]:
    """Asks the database something that only works with the schema that this code was written for."""
    try:
        with Session(create_engine()) as session:
            urgent = session.scalar(sa.select(sa.func.count()).select_from(Ticket).where(Ticket.priority == "urgent"))
    except sa.exc.SQLAlchemyError as error:
        return "503 Service Unavailable", {"status": "unavailable", "problem": type(error).__name__}
    return "200 OK", {"status": "ok", "urgentTickets": urgent}


def application(environ: dict[str, str], start_response: Callable[..., object]) -> Iterable[bytes]:
    """WSGI: the status, or 404."""
    if environ["PATH_INFO"] == STATUS_PATH:
        status, body = system_status()
    else:
        status, body = "404 Not Found", {"status": "not found", "try": STATUS_PATH}
    start_response(status, [("Content-Type", "application/json")])
    return [json.dumps(body).encode() + b"\n"]


def main() -> None:
    port = int(os.environ.get("PORT", "8084"))
    with make_server("127.0.0.1", port, application) as server:
        print(f"http://127.0.0.1:{port}{STATUS_PATH}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
