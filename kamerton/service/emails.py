"""E-mail addresses, by which owners, users and groups are known."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from kamerton.errors import InvalidArgument

MAX_CHARACTERS = 320


def checked(field: str, text: str) -> str:
    """The address as it is kept and compared: without surrounding space, in lower case."""
    text = text.strip().lower()
    if not text or len(text) > MAX_CHARACTERS or not text.isprintable() or " " in text:
        raise InvalidArgument.of(field, "must be an e-mail address, such as you@example.com")
    return text


def groups_of(address: str, text: str) -> frozenset[str]:
    """The groups that an address is in, by a text such as `a@x.org=ann@x.org bob@x.org, b=...`."""
    found = groups(text)
    return frozenset(name for name in found if address in found[name])


@cache
def groups(text: str) -> Mapping[str, frozenset[str]]:
    """Members by group. Raises InvalidArgument for what is not such a text."""
    found: dict[str, frozenset[str]] = {}
    for entry in filter(None, map(str.strip, text.split(","))):
        name, equals, members = entry.partition("=")
        if not equals:
            raise InvalidArgument(f"KAMERTON_GROUPS: {entry!r} is not group=member member ...")
        group = checked("KAMERTON_GROUPS", name)
        addresses = {checked("KAMERTON_GROUPS", member) for member in members.split()}
        found[group] = found.get(group, frozenset()) | addresses
    return found
