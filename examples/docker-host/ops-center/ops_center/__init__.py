"""A small service with a history of migrations: who watches over which site, and what happened there."""
