"""`kamerton keys`: API keys, read and written in the data folder of a server."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, cast

import typer

from kamerton.options import EXIT_CODES, AsJson, Data, chosen_settings, print_json

if TYPE_CHECKING:
    from kamerton.types import Credential, Scope

app = typer.Typer(
    help="API keys of a server, read and written in its data folder.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
)
_SCOPES = ("infer", "tuning", "admin")


@app.command()
def create(
    owner: Annotated[str, typer.Option(help="Who the key stands for, such as an e-mail.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="infer, tuning or admin; infer is always there.")
    ] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, this once: the server keeps only its hash."""
    for given in scope or ():
        if given not in _SCOPES:
            raise typer.BadParameter(f"no scope is called {given}; use infer, tuning or admin")
    from kamerton.service import credentials

    scopes = frozenset(cast("list[Scope]", ["infer", *(scope or ())]))
    key, secret = credentials.create(chosen_settings(data=data), "key", owner=owner, scopes=scopes)
    if as_json:
        print_json({**_facts(key), "key": secret})
    else:
        print(secret)
        print(f"id {key.id}, for {key.owner}, may {', '.join(sorted(scopes))}", file=sys.stderr)


@app.command("list")
def list_(data: Data = None, as_json: AsJson = False) -> None:
    """List the keys, without their secrets."""
    from kamerton.service import credentials

    found = credentials.list_(chosen_settings(data=data), "key")
    if as_json:
        print_json([_facts(key) for key in found])
        return
    for key in found:
        scopes = " ".join(sorted(key.scopes))
        print(f"{key.id}  {key.create_time:%Y-%m-%d %H:%M}  {key.owner}  {scopes}")


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `kamerton keys list` shows it.")],
    data: Data = None,
) -> None:
    """Make a key worthless from now on."""
    from kamerton.service import credentials

    credentials.revoke(chosen_settings(data=data), "key", key_id)
    print(f"revoked {key_id}")


def _facts(key: Credential) -> dict[str, object]:
    return {
        "id": key.id,
        "owner": key.owner,
        "scopes": sorted(key.scopes),
        "createTime": key.create_time.isoformat(),
    }
