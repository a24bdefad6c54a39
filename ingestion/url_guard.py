"""Where requests may go: to the declared host and to no address the operator did not mean (SSRF).

Two checks, because one is not enough: every URL about to be sent, redirects and `next` links included, must have the
declared scheme, host and port; and the address a socket really reached (connections.py asks) must be a public one,
which a name that resolves differently the second time (DNS rebinding) cannot evade. Behind a proxy set in the
environment the proxy resolves names, and only the first check applies.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urljoin

from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from starberg.utils.errors import SourceDataError, UsageError

Origin = tuple[str, str, int]
_PORTS = {"http": 80, "https": 443}


def origin_of(url: str) -> Origin:
    """Return (scheme, host, port) of an absolute http(s) URL without user or password; ValueError otherwise."""
    try:
        parsed: Url = parse_url(url)  # the parser the sender uses: no second opinion on what the host is
    except LocationParseError:
        raise ValueError("not a URL") from None
    if parsed.scheme not in _PORTS or not parsed.host:
        raise ValueError("not an absolute http or https URL")
    if parsed.auth:
        raise ValueError("a URL with a user name in it")
    return parsed.scheme, parsed.host.lower(), parsed.port or _PORTS[parsed.scheme]


def declared_origin(url: str, where: str) -> Origin:
    """Return the origin of a configured URL; UsageError naming the setting."""
    try:
        return origin_of(url)
    except ValueError as fault:
        raise UsageError(f"{where} is {fault}", hint="Give https://host/path; secrets go under auth") from None


def admitted(url: str, origin: Origin, what: str) -> str:
    """Return a URL a server sent if it stays on `origin`, else raise SourceDataError.

    `http://` links to a host asked by https are upgraded: servers behind a TLS proxy often do not know better.
    """
    try:
        found = origin_of(url)
    except ValueError as fault:
        raise SourceDataError(f"{what}: the server points to {fault}") from None
    if found == ("http", origin[1], 80) and origin[0] == "https" and origin[2] == 443:
        return "https" + url[4:]
    if found != origin:
        raise SourceDataError(
            f"{what}: the server points to {_text(found)}, and only {_text(origin)} may be asked",
            hint="If that host is right, declare it as the source's url",
        )
    return url


def absolute(base: str, link: str) -> str:
    """Return where a link on the page `base` leads; what is no link is returned as it is, for `admitted` to refuse."""
    try:
        return urljoin(base, link)
    except ValueError:
        return link


def _text(origin: Origin) -> str:
    return f"{origin[0]}://{origin[1]}:{origin[2]}"


class AddressGuard:
    """Refuses connections to private, loopback and link-local addresses unless they were meant."""

    def __init__(self, origin: Origin, *, allow_private: bool) -> None:
        self._host = origin[1].strip("[]")
        self._allow_private = allow_private or _is_private_literal(self._host)

    def check(self, address: str) -> None:
        """Raise UsageError if a socket reached an address that was not meant."""
        if self._allow_private or _is_public(address):
            return
        if self._is_localhost() and ipaddress.ip_address(address).is_loopback:
            return
        raise UsageError(
            f"{self._host} resolves to the private address {address}: not asked",
            hint="Set allow_private_hosts: true for this source if that is meant",
        )

    def _is_localhost(self) -> bool:
        return self._host == "localhost" or self._host.endswith(".localhost")


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address.split("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None)
    return (mapped or ip).is_global


def _is_private_literal(host: str) -> bool:
    try:
        return not _is_public(host)
    except ValueError:
        return False
