"""Settings that are allowed and unsafe: `manage.py check` warns of them.

What can never be meant stops the start in `settings`. Everything here may be right in
some network, so it is a warning, and WHISPERHUB_SILENCED_CHECKS accepts it.
docs/configuration.md lists the ids.
"""

from __future__ import annotations

import ipaddress
import stat
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register
from django.core.checks.security.base import check_secret_key as django_secret_key

from whisperhub.loopback import is_loopback
from whisperhub.network.addresses import Network
from whisperhub.network.egress import AllowedNetwork
from whisperhub.private_files import FOR_OTHERS

# This machine and the networks behind it. What is reserved otherwise leads nowhere,
# and the prefix of NAT64 has to be allowed where it is used.
INTERNAL: Final = [
    ipaddress.ip_network(text)
    for text in (
        *("0.0.0.0/8", "127.0.0.0/8", "::1/128"),
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"),
        # Among them the metadata service of clouds.
        *("169.254.0.0/16", "fe80::/10"),
    )
]
# By version of IP: the widest private networks are 10.0.0.0/8 and fc00::/7.
LEAST_PROXY_PREFIX: Final = {4: 8, 6: 7}

TLS_BROKERS: Final = frozenset({"rediss", "sentinels"})
# Options of the drivers, by which a password or a client certificate may come.
DATABASE_CREDENTIALS: Final = frozenset(
    {
        *("password", "passwd", "passfile", "service", "sslcert", "ssl_cert"),
        "read_default_file",
    }
)
# PostgreSQL's modes that never fall back to an unencrypted connection.
DATABASE_TLS_MODES: Final = frozenset({"require", "verify-ca", "verify-full"})
MYSQL_TLS_OPTIONS: Final = frozenset({"ssl", "ssl_ca", "ssl_cert"})


def reachable_by() -> str | None:
    """What shows that other machines reach the web server; None: nothing does."""
    if not is_loopback(settings.HOST):
        return f"WHISPERHUB_HOST is {settings.HOST}"
    if settings.TRUSTED_PROXIES:
        return "WHISPERHUB_TRUSTED_PROXIES names a proxy"
    for name in settings.ALLOWED_HOSTS:
        # `*` has a warning of its own, and no machine has that name.
        if name != "*" and not is_loopback(name):
            return f"WHISPERHUB_ALLOWED_HOSTS has {name}"
    return None


@register(Tags.security)
def check_open_mode_proxy(**options: Any) -> list[CheckMessage]:
    """Open mode takes whatever seems to come from this machine."""
    if not (settings.OPEN_MODE and settings.TRUSTED_PROXIES):
        return []
    return [
        Warning(
            "WHISPERHUB_OPEN_MODE is on, and WHISPERHUB_TRUSTED_PROXIES names a proxy. "
            "Requests of other machines that it passes on without X-Forwarded-For "
            "would need no API key.",
            hint="Set WHISPERHUB_OPEN_MODE=false, or remove the proxy and empty "
            "WHISPERHUB_TRUSTED_PROXIES.",
            id="whisperhub.W001",
        )
    ]


@register(Tags.security)
def check_https(**options: Any) -> list[CheckMessage]:
    """Keys, passwords and recordings must not cross a network unencrypted."""
    reason = reachable_by()
    if settings.HTTPS or not reason:
        return []
    return [
        Warning(
            f"{reason}, and WHISPERHUB_HTTPS is off: API keys, passwords and "
            "recordings may cross the network unencrypted.",
            hint="Put a proxy that ends TLS in front, name it in "
            "WHISPERHUB_TRUSTED_PROXIES and set WHISPERHUB_HTTPS=true. For this "
            "machine only: leave WHISPERHUB_HOST, WHISPERHUB_TRUSTED_PROXIES and "
            "WHISPERHUB_ALLOWED_HOSTS at their defaults.",
            id="whisperhub.W002",
        )
    ]


@register(Tags.security)
def check_debug(**options: Any) -> list[CheckMessage]:
    """Debug pages show settings, source and values of variables."""
    reason = reachable_by()
    if not (settings.DEBUG and reason):
        return []
    return [
        Warning(
            f"{reason}, and WHISPERHUB_DEBUG is on: errors show source and settings "
            "to all who can reach the service.",
            hint="Set WHISPERHUB_DEBUG=false.",
            id="whisperhub.W003",
        )
    ]


@register(Tags.security)
def check_allowed_hosts(**options: Any) -> list[CheckMessage]:
    """A name that is not checked lets pages of other sites reach the service."""
    if "*" not in settings.ALLOWED_HOSTS:
        return []
    return [
        Warning(
            "WHISPERHUB_ALLOWED_HOSTS has *: requests may use any host name, so links "
            "in answers can be forged and DNS rebinding is not stopped.",
            hint="Set WHISPERHUB_ALLOWED_HOSTS to the names that your users type, such "
            "as speech.example.org,localhost.",
            id="whisperhub.W004",
        )
    ]


@register(Tags.security)
def check_broker(**options: Any) -> list[CheckMessage]:
    """Whoever can write to the broker decides what workers run."""
    found: list[CheckMessage] = []
    remote = list(_remote_brokers())
    open_hosts = [part.hostname for part in remote if not part.password]
    if open_hosts:
        found.append(
            Warning(
                f"WHISPERHUB_BROKER_URL has no password for {open_hosts[0]}: others in "
                "its network can read and write the queues.",
                hint="Give the server a password (requirepass, or an ACL user) and set "
                "WHISPERHUB_BROKER_URL=rediss://user:password@host:6379/0.",
                id="whisperhub.W005",
            )
        )
    plain_hosts = [part.hostname for part in remote if part.scheme not in TLS_BROKERS]
    if plain_hosts:
        found.append(
            Warning(
                f"WHISPERHUB_BROKER_URL reaches {plain_hosts[0]} without TLS: the "
                "password and the queues cross the network unencrypted.",
                hint="Turn TLS on in the server and use rediss:// in place of redis:// "
                "in WHISPERHUB_BROKER_URL.",
                id="whisperhub.W006",
            )
        )
    return found


def _remote_brokers() -> Iterator[SplitResult]:
    """The servers of the broker's URL that are on other machines."""
    # kombu separates the servers that it tries in turn by semicolons.
    for url in str(settings.BROKER_URL).split(";"):
        try:
            parts = urlsplit(url)
        except ValueError:
            # No URL; what connects to the broker reports that.
            continue
        if parts.hostname and not is_loopback(parts.hostname):
            yield parts


@register(Tags.security)
def check_database(**options: Any) -> list[CheckMessage]:
    """The database holds transcripts, users and the hashes of keys."""
    found: list[CheckMessage] = []
    database = settings.DATABASES["default"]
    host = _remote_database(database)
    if host is None:
        return found
    driver_options = database.get("OPTIONS", {})
    if not (database.get("PASSWORD") or DATABASE_CREDENTIALS & driver_options.keys()):
        found.append(
            Warning(
                f"WHISPERHUB_DATABASE_URL has no password for {host}: others in its "
                "network may be able to read and change all data.",
                hint="Give the database user a password and set WHISPERHUB_DATABASE_URL"
                "=postgresql://user:password@host:5432/name, or the same with "
                "mariadb://.",
                id="whisperhub.W007",
            )
        )
    if not (
        driver_options.get("sslmode") in DATABASE_TLS_MODES
        or MYSQL_TLS_OPTIONS & driver_options.keys()
    ):
        found.append(
            Warning(
                f"WHISPERHUB_DATABASE_URL does not demand TLS to {host}: transcripts "
                "may cross the network unencrypted.",
                hint="Add ?sslmode=require (PostgreSQL) or ?ssl-ca=/path/ca.pem "
                "(MariaDB, MySQL) to WHISPERHUB_DATABASE_URL.",
                id="whisperhub.W008",
            )
        )
    return found


def _remote_database(database: dict[str, Any]) -> str | None:
    """The host of a database on another machine; None: a file, a socket, this one."""
    driver_options = database.get("OPTIONS", {})
    if driver_options.get("unix_socket"):
        return None
    hosts = str(database.get("HOST") or driver_options.get("host") or "")
    # libpq tries the hosts of a list in turn.
    for host in filter(None, hosts.split(",")):
        if not (host.startswith(("/", "@")) or is_loopback(host)):
            return host
    return None


@register(Tags.security)
def check_outgoing(**options: Any) -> list[CheckMessage]:
    """Clients choose the addresses of links and callbacks."""
    ranges = [
        _written(entry)
        for entry in settings.OUTGOING_ALLOWED
        if isinstance(entry, AllowedNetwork)
        and _is_internal(entry.network)
        and not _is_one_service(entry)
    ]
    if not ranges:
        return []
    return [
        Warning(
            f"WHISPERHUB_OUTGOING_ALLOWED has {', '.join(ranges)}: every client can "
            "make the service send requests to the internal services there.",
            hint="Set WHISPERHUB_OUTGOING_ALLOWED to single services with their ports, "
            "such as hooks.internal:8080,192.168.7.9:9000.",
            id="whisperhub.W009",
        )
    ]


def _is_internal(network: Network) -> bool:
    return any(
        network.version == internal.version and network.overlaps(internal)
        for internal in INTERNAL
    )


def _is_one_service(entry: AllowedNetwork) -> bool:
    return entry.port is not None and entry.network.num_addresses == 1


def _written(entry: AllowedNetwork) -> str:
    """An entry as the setting has it."""
    if entry.port is None:
        return str(entry.network)
    if entry.network.version == 6:
        return f"[{entry.network}]:{entry.port}"
    return f"{entry.network}:{entry.port}"


@register(Tags.security)
def check_trusted_proxies(**options: Any) -> list[CheckMessage]:
    """A client that counts as a proxy chooses its address and its scheme."""
    wide = [
        str(network)
        for network in settings.TRUSTED_PROXIES.networks
        if network.prefixlen < LEAST_PROXY_PREFIX[network.version]
    ]
    if not wide:
        return []
    return [
        Warning(
            f"WHISPERHUB_TRUSTED_PROXIES has {', '.join(wide)}: clients there are "
            "believed what they say about their own address and TLS, so limits by "
            "address and WHISPERHUB_HTTPS do not hold.",
            hint="Set WHISPERHUB_TRUSTED_PROXIES to the addresses of your proxies, "
            "such as 127.0.0.1.",
            id="whisperhub.W010",
        )
    ]


@register(Tags.security)
def check_secret_key(**options: Any) -> list[CheckMessage]:
    """The rule of Django's check for deployment, with or without `--deploy`."""
    if not django_secret_key(None):
        return []
    return [
        Warning(
            "WHISPERHUB_SECRET_KEY can be guessed: it has fewer than 50 characters, "
            "fewer than 5 different ones, or the prefix of Django's examples. Who "
            "knows it can forge sessions.",
            hint="Leave WHISPERHUB_SECRET_KEY empty, and one is made and kept in the "
            "data folder; or set it to the output of: python -c 'import secrets; "
            "print(secrets.token_urlsafe(50))'.",
            id="whisperhub.W011",
        )
    ]


@register(Tags.security)
def check_env_file(**options: Any) -> list[CheckMessage]:
    """The file may hold the secret key and passwords."""
    path = settings.ENV_FILE
    try:
        found = path.stat()
    except OSError:
        return []
    # A device such as /dev/null stands for no file.
    if not (stat.S_ISREG(found.st_mode) and found.st_mode & FOR_OTHERS):
        return []
    return [
        Warning(
            f"{path}, the file of WHISPERHUB_ENV_FILE, is open to other users (mode "
            f"{stat.S_IMODE(found.st_mode):04o}), and it may hold secrets.",
            hint=f"chmod 600 {path}",
            id="whisperhub.W012",
        )
    ]


@register(Tags.security)
def check_sign_in_limits(**options: Any) -> list[CheckMessage]:
    """Without any limit, passwords can be guessed as fast as the server answers."""
    reason = reachable_by()
    if settings.LOGIN_ATTEMPTS or settings.LOGIN_ADDRESS_ATTEMPTS or not reason:
        return []
    return [
        Warning(
            f"{reason}, and WHISPERHUB_LOGIN_ATTEMPTS and "
            "WHISPERHUB_LOGIN_ADDRESS_ATTEMPTS are 0: nothing bounds guesses at "
            "passwords.",
            hint="Set WHISPERHUB_LOGIN_ATTEMPTS=10 and "
            "WHISPERHUB_LOGIN_ADDRESS_ATTEMPTS=100, the defaults.",
            id="whisperhub.W013",
        )
    ]


@register(Tags.security)
def check_decoder_limits(**options: Any) -> list[CheckMessage]:
    """A file that is made for it takes all memory or keeps a processor busy."""
    reason = reachable_by()
    unlimited = [
        variable
        for variable, value in (
            ("WHISPERHUB_DECODER_MEMORY", settings.DECODER_MEMORY_BYTES),
            ("WHISPERHUB_DECODER_CPU_SECONDS", settings.DECODER_CPU_SECONDS),
        )
        if not value
    ]
    if not (unlimited and reason):
        return []
    return [
        Warning(
            f"{reason}, and there is no limit by {' and '.join(unlimited)}: one "
            "hostile file can use up the machine.",
            hint="Remove the variable for its default, or set "
            "WHISPERHUB_DECODER_MEMORY=1GiB and WHISPERHUB_DECODER_CPU_SECONDS=60.",
            id="whisperhub.W014",
        )
    ]
