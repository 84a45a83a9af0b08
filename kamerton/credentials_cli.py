"""`kamerton keys` and `kamerton tokens`: credentials, read and written in the data folder of a
server, also while it runs."""

from __future__ import annotations

import re
import sys
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from kamerton.options import EXIT_CODES, AsJson, Data, chosen_settings, print_json
from kamerton.types import CredentialKind, Scope

if TYPE_CHECKING:
    from kamerton.types import Credential

_SPAN = re.compile(r"([0-9]{1,5})([dhm])")
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


def _moment(text: str) -> datetime:
    """`30d`, `12h` and `90m` from now, or the beginning of a day in UTC."""
    if span := _SPAN.fullmatch(text):
        return datetime.now(UTC) + timedelta(**{_UNITS[span[2]]: int(span[1])})
    try:
        return datetime.combine(date.fromisoformat(text), time.min, UTC)
    except ValueError:
        raise typer.BadParameter("use 30d, 12h, 90m, or a date such as 2027-01-31") from None


def _scope(text: str) -> str:
    if text not in get_args(Scope):
        raise typer.BadParameter(f"no scope is called {text}; use infer, tuning or admin")
    return text


Owner = Annotated[str, typer.Option(help="Who it stands for: an e-mail address.")]
Scopes = Annotated[
    list[str] | None,
    typer.Option(
        parser=_scope,
        metavar="infer|tuning|admin",
        help="What it may do; can be repeated. infer is always there.",
    ),
]
Expires = Annotated[
    datetime | None,
    typer.Option(
        parser=_moment,
        metavar="WHEN",
        help="30d, 12h or 90m from now, or a date (UTC); without it, never.",
    ),
]


def _commands(kind: CredentialKind, name: str, default: str) -> typer.Typer:
    """The commands for one kind of credential."""
    app = typer.Typer(
        help=f"{name}s of a server, read and written in its data folder.",
        epilog=EXIT_CODES,
        no_args_is_help=True,
    )

    @app.command(
        help=f"Make a {kind} and print it, this once: the server keeps only its hash.\n\n"
        f"Without --scope it may {default}."
    )
    def create(
        owner: Owner,
        scope: Scopes = None,
        expires: Expires = None,
        data: Data = None,
        as_json: AsJson = False,
    ) -> None:
        from kamerton.service import credentials

        made, secret = credentials.create(
            chosen_settings(data=data), kind, owner=owner, scopes=scope, expire_time=expires
        )
        if as_json:
            print_json({**_facts(made), kind: secret})
        else:
            print(secret)
            scopes = ", ".join(sorted(made.scopes))
            print(f"id {made.id}, for {made.owner}, may {scopes}, {_end(made)}", file=sys.stderr)

    @app.command("list", help=f"List the {kind}s, without their secrets.")
    def list_(data: Data = None, as_json: AsJson = False) -> None:
        from kamerton.service import credentials

        found = credentials.list_(chosen_settings(data=data), kind)
        if as_json:
            print_json([_facts(credential) for credential in found])
            return
        width = max((len(one.owner) for one in found), default=0)
        for one in found:
            scopes = ",".join(sorted(one.scopes))
            made = _shown(one.create_time)
            print(f"{one.id}  {one.owner:{width}}  {scopes:18}  created {made}  {_end(one)}")

    @app.command(help=f"Make a {kind} worthless from the next request on.")
    def revoke(
        id: Annotated[str, typer.Argument(metavar="ID", help="As list shows it.")],
        data: Data = None,
        as_json: AsJson = False,
    ) -> None:
        from kamerton.service import credentials

        revoked = credentials.revoke(chosen_settings(data=data), kind, id)
        if as_json:
            print_json({"id": revoked, "revoked": True})
        else:
            print(f"revoked {revoked}")

    return app


keys = _commands("key", "API key", "only infer")
tokens = _commands("token", "Bearer token", "infer and tune")


def _facts(credential: Credential) -> dict[str, object]:
    ends = credential.expire_time
    return {
        "id": credential.id,
        "owner": credential.owner,
        "scopes": sorted(credential.scopes),
        "createTime": credential.create_time.isoformat(),
        "expireTime": None if ends is None else ends.isoformat(),
    }


def _end(credential: Credential) -> str:
    ends = credential.expire_time
    if ends is None:
        return "never expires"
    return f"{'expired' if ends <= datetime.now(UTC) else 'expires'} {_shown(ends)}"


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%MZ}"
