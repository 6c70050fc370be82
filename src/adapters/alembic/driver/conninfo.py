"""libpq's ways to say where a database is: a URL, a service file."""
import configparser
import os
from urllib.parse import parse_qsl, unquote, urlsplit

#: What says where the server is, and as whom to come: it goes together. The rest stays as env.py says.
WHERE = frozenset(
    "host hostaddr port dbname database user password passfile service servicefile sslmode requiressl sslcert sslkey"
    " sslpassword sslrootcert sslcrl sslcrldir sslcertmode sslsni sslnegotiation channel_binding require_auth gssencmode"
    " gsslib gssdelegation krbsrvname requirepeer target_session_attrs load_balance_hosts".split()
)


def parse_url(url):
    """The parameters of `postgresql://user:password@host:port/dbname?…`, by libpq's names."""
    parts = urlsplit(url)
    _, at, hosts = parts.netloc.rpartition("@")
    userinfo = parts.netloc[: -len(hosts) - 1] if at else ""
    user, _, password = userinfo.partition(":")
    addresses = [_address(one) for one in hosts.split(",")]
    found = {
        "user": unquote(user),
        "password": unquote(password),
        "host": ",".join(host for host, _ in addresses),
        "port": ",".join(port for _, port in addresses).strip(","),
        "dbname": unquote(parts.path[1:]),
    }
    found.update(parse_qsl(parts.query, keep_blank_values=True))
    return {name: value for name, value in found.items() if value}


def _address(text):
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, rest.lstrip(":")
    host, _, port = text.partition(":")
    return unquote(host), port


def database_of_service(service, service_file=None):
    """The `dbname` of a service, from the files that libpq reads; None where none says it."""
    if not service:
        return None
    own = service_file or os.environ.get("PGSERVICEFILE") or os.path.expanduser("~/.pg_service.conf")
    system = os.path.join(os.environ.get("PGSYSCONFDIR", "/etc/postgresql-common"), "pg_service.conf")
    for path in (own, system):
        parser = configparser.RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#",), default_section="\0")
        try:
            parser.read(path)
        except configparser.Error:
            continue  # libpq will say what is wrong with it.
        if parser.has_section(service):
            return parser.get(service, "dbname", fallback=None)
    return None
