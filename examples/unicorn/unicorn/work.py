"""A little of what a day brings: `python -m unicorn.work 250` opens that many tickets, and logs it. Needs the newest schema."""

import argparse

import sqlalchemy as sa
from sqlalchemy.orm import Session

from unicorn.database import create_engine
from unicorn.models import PRIORITIES, AuditEntry, Project, Ticket, User


def open_tickets(session: Session, count: int) -> None:
    """Opens `count` tickets, each with an entry in the audit log."""
    reporters = session.scalars(sa.select(User).order_by(User.id).limit(50)).all()
    projects = session.scalars(sa.select(Project).order_by(Project.id).limit(20)).all()
    if not reporters or not projects:
        raise SystemExit("There is nobody to open tickets. Seed first: python -m unicorn.seed")
    for index in range(count):
        reporter = reporters[index % len(reporters)]
        session.add(
            Ticket(
                project=projects[index % len(projects)],
                reporter=reporter,
                title=f"Opened today ({index + 1})",
                priority=PRIORITIES[index % len(PRIORITIES)],
            )
        )
        session.add(AuditEntry(user_id=reporter.id, action="open ticket", client_hash="0" * 64))
        reporter.last_seen_at = sa.func.now()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m unicorn.work", description=__doc__)
    parser.add_argument("tickets", type=int, help="how many tickets to open")
    count = parser.parse_args().tickets
    with Session(create_engine()) as session, session.begin():
        open_tickets(session, count)
    print(f"{count:,} tickets opened, {count:,} entries added to the audit log")


if __name__ == "__main__":
    main()
