"""Who may do what: every verb against every role, and how roles come and go."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from kamerton import folders
from kamerton.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    KamertonError,
    NotFound,
    PermissionDenied,
)
from kamerton.service import access, generation, operations, permissions, runs, tuned_models
from kamerton.service.access import RIGHTS
from kamerton.service.readings import Data
from kamerton.store import permissions as store
from kamerton.types import (
    Caller,
    Content,
    Example,
    GenerationConfig,
    Permission,
    PermissionRole,
    Scope,
)
from tests.service.conftest import ADMIN, ANN, BOB, FakeApp

HI = [Content("user", "hi")]
EXAMPLES = [Example.pair("1", "2")]
SCOPES: frozenset[Scope] = frozenset({"infer", "tuning"})


def create(app: FakeApp, caller: Caller = ANN, id: str = "anns", **more: Any) -> str:
    """Ann's tuned model, ACTIVE; the id of its operation."""
    asked: Any = {"base_model": "kamerton-nano-001", "data": Data(examples=EXAMPLES), **more}
    made = tuned_models.create(app, caller, tuned_model_id=id, **asked)
    folders.publish(app.folder(made.tuned_model.uid) / "adapter", lambda folder: None)
    app.runner.finish_all()
    return made.id


def share(app: FakeApp, email: str = BOB.owner, role: PermissionRole = "READER") -> Permission:
    return permissions.create(app, ANN, "anns", grantee_type="USER", email=email, role=role)


def owners(app: FakeApp) -> list[str]:
    page = permissions.list_(app, ADMIN, "anns", page_size=100)
    return [found.email for found in page.items if found.role == "OWNER"]


# Each verb about a tuned model, as `caller` would call it; to be tried on a fresh model each time.
CALLS: dict[str, Callable[[FakeApp, Caller, str, str], object]] = {
    "tuned_models.continue": lambda app, who, op, pid: create(
        app, who, "child", base_model="", source="anns"
    ),
    "tuned_models.get": lambda app, who, op, pid: tuned_models.get(app, who, "anns"),
    "tuned_models.generate": lambda app, who, op, pid: generation.generate(
        app, who, tuned_model="anns", contents=HI, config=GenerationConfig()
    ),
    "tuned_models.count_tokens": lambda app, who, op, pid: generation.count_tokens(
        app, who, tuned_model="anns", contents=HI
    ),
    "tuned_models.patch": lambda app, who, op, pid: tuned_models.patch(
        app, who, "anns", {"display_name": "n"}
    ),
    "tuned_models.cancel": lambda app, who, op, pid: tuned_models.cancel(app, who, "anns"),
    "tuned_models.delete": lambda app, who, op, pid: tuned_models.delete(app, who, "anns"),
    "tuned_models.transfer_ownership": lambda app, who, op, pid: permissions.transfer_ownership(
        app, who, "anns", "eve@x.org"
    ),
    "runs.events": lambda app, who, op, pid: runs.events(app, who, "anns", after=0, most=9),
    "runs.snapshots": lambda app, who, op, pid: runs.snapshots(app, who, "anns", after=0),
    "runs.diagnosis": lambda app, who, op, pid: runs.diagnose(app, who, "anns"),
    "runs.card": lambda app, who, op, pid: runs.card(app, who, "anns"),
    "runs.epochs": lambda app, who, op, pid: runs.epochs(app, who, "anns"),
    "runs.download": lambda app, who, op, pid: runs.download(app, who, "anns", None).close(),
    "operations.list": lambda app, who, op, pid: operations.list_(app, who, "anns", page_size=9),
    "operations.get": lambda app, who, op, pid: operations.get(app, who, "anns", op),
    "operations.wait": lambda app, who, op, pid: operations.wait(app, who, "anns", op, seconds=0),
    "operations.cancel": lambda app, who, op, pid: operations.cancel(app, who, "anns", op),
    "permissions.list": lambda app, who, op, pid: permissions.list_(app, who, "anns", page_size=9),
    "permissions.get": lambda app, who, op, pid: permissions.get(app, who, "anns", pid),
    "permissions.create": lambda app, who, op, pid: permissions.create(
        app, who, "anns", grantee_type="EVERYONE", email="", role="READER"
    ),
    "permissions.patch": lambda app, who, op, pid: permissions.patch(
        app, who, "anns", pid, "WRITER"
    ),
    "permissions.delete": lambda app, who, op, pid: permissions.delete(app, who, "anns", pid),
}
NEEDED = {
    **dict.fromkeys(
        (
            "tuned_models.continue",
            "tuned_models.get",
            "tuned_models.generate",
            "tuned_models.count_tokens",
            "runs.events",
            "runs.snapshots",
            "runs.diagnosis",
            "runs.card",
            "runs.epochs",
            "runs.download",
            "operations.list",
            "operations.get",
            "operations.wait",
        ),
        "READER",
    ),
    **dict.fromkeys(
        (
            "tuned_models.patch",
            "tuned_models.cancel",
            "operations.cancel",
            "permissions.list",
            "permissions.get",
            "permissions.create",
            "permissions.patch",
            "permissions.delete",
        ),
        "WRITER",
    ),
    **dict.fromkeys(("tuned_models.delete", "tuned_models.transfer_ownership"), "OWNER"),
}
"""Written down a second time, so that a slip in the table of rights shows."""


def test_every_verb_about_a_tuned_model_is_tried_here() -> None:
    about_models = {verb for verb, right in RIGHTS.items() if right.role}
    assert about_models - {"operations.delete"} == CALLS.keys() == NEEDED.keys()


@pytest.mark.parametrize("role", ["nobody", "READER", "WRITER", "OWNER", "admin"])
@pytest.mark.parametrize("verb", CALLS)
def test_every_verb_by_every_role(app: FakeApp, verb: str, role: str) -> None:
    operation = create(app)
    other = share(app, "other@x.org")
    caller = BOB
    if role in ("READER", "WRITER"):
        share(app, role="READER" if role == "READER" else "WRITER")
    caller = {"OWNER": ANN, "admin": ADMIN}.get(role, BOB)
    order = ["nobody", "READER", "WRITER", "OWNER", "admin"]
    if order.index(role) >= order.index(NEEDED[verb]):
        CALLS[verb](app, caller, operation, other.id)
    else:
        with pytest.raises(PermissionDenied):
            CALLS[verb](app, caller, operation, other.id)


@pytest.mark.parametrize("verb", CALLS)
def test_the_scope_is_asked_for_even_of_owners(app: FakeApp, verb: str) -> None:
    operation = create(app)
    other = share(app, "other@x.org")
    infer_only = replace(ANN, scopes=frozenset({"infer"}))
    if RIGHTS[verb].scope == "infer":
        CALLS[verb](app, infer_only, operation, other.id)
    else:
        with pytest.raises(PermissionDenied, match="scope 'tuning'"):
            CALLS[verb](app, infer_only, operation, other.id)


@pytest.mark.parametrize("verb", CALLS)
def test_an_administrator_needs_no_other_scope(app: FakeApp, verb: str) -> None:
    operation = create(app)
    other = share(app, "other@x.org")
    only_admin = replace(ADMIN, scopes=frozenset({"infer", "admin"}))
    CALLS[verb](app, only_admin, operation, other.id)


def test_a_role_that_was_lost_meanwhile_changes_nothing(app: FakeApp) -> None:
    create(app)
    uid = tuned_models.get(app, ANN, "anns").uid
    other = share(app, "other@x.org")
    reader = BOB
    share(app)
    changes: list[Callable[[], object]] = [
        lambda: store.add(app.database, uid, "EVERYONE", "", "READER", reader),
        lambda: store.patch(app.database, uid, other.id, "WRITER", reader),
        lambda: store.delete_(app.database, uid, other.id, reader),
        lambda: store.transfer(app.database, uid, reader.owner, reader),
        lambda: store.transfer(app.database, uid, reader.owner, Caller("other@x.org")),
    ]
    before = permissions.list_(app, ANN, "anns", page_size=10)
    for change in changes:
        with pytest.raises(PermissionDenied, match="a moment ago"):
            change()
    assert permissions.list_(app, ANN, "anns", page_size=10) == before


def test_only_others_permissions_can_be_changed_in_the_store(app: FakeApp) -> None:
    create(app)
    uid = tuned_models.get(app, ANN, "anns").uid
    (owner,) = permissions.list_(app, ANN, "anns", page_size=10).items
    assert store.patch(app.database, uid, owner.id, "READER", None) is None
    assert not store.delete_(app.database, uid, owner.id, None)
    assert owners(app) == [ANN.owner]


def test_a_right_is_in_force_with_the_next_call_and_gone_with_the_next(app: FakeApp) -> None:
    create(app)
    permission = share(app)
    assert tuned_models.get(app, BOB, "anns")
    with pytest.raises(PermissionDenied, match=r"takes the role WRITER.*yours is READER"):
        tuned_models.patch(app, BOB, "anns", {"display_name": "n"})
    permissions.patch(app, ANN, "anns", permission.id, "WRITER")
    tuned_models.patch(app, BOB, "anns", {"display_name": "n"})
    permissions.delete(app, ANN, "anns", permission.id)
    with pytest.raises(PermissionDenied, match="or it does not exist"):
        tuned_models.get(app, BOB, "anns")


def test_a_model_of_the_same_name_inherits_nothing(app: FakeApp) -> None:
    create(app)
    share(app, role="WRITER")
    tuned_models.delete(app, ANN, "anns")
    create(app)
    with pytest.raises(PermissionDenied):
        tuned_models.get(app, BOB, "anns")


def test_ownership_moves_whole(app: FakeApp) -> None:
    create(app)
    share(app)
    permissions.transfer_ownership(app, ANN, "anns", " BOB@x.org ")
    assert owners(app) == [BOB.owner]
    tuned_models.patch(app, ANN, "anns", {"display_name": "still a writer"})
    with pytest.raises(PermissionDenied):
        tuned_models.delete(app, ANN, "anns")
    with pytest.raises(PermissionDenied):
        permissions.transfer_ownership(app, ANN, "anns", ANN.owner)
    permissions.transfer_ownership(app, BOB, "anns", BOB.owner)  # changes nothing
    assert owners(app) == [BOB.owner]
    tuned_models.delete(app, BOB, "anns")


def test_the_owner_cannot_be_made_or_unmade_by_permissions(app: FakeApp) -> None:
    create(app)
    (owner,) = permissions.list_(app, ANN, "anns", page_size=10).items
    assert (owner.role, owner.email, owner.grantee_type) == ("OWNER", ANN.owner, "USER")
    for change in (
        lambda: permissions.delete(app, ANN, "anns", owner.id),
        lambda: permissions.patch(app, ANN, "anns", owner.id, "READER"),
    ):
        with pytest.raises(FailedPrecondition, match="transferOwnership"):
            change()
    with pytest.raises(InvalidArgument, match="OWNER"):
        share(app, role="OWNER")
    permission = share(app)
    with pytest.raises(InvalidArgument, match="OWNER"):
        permissions.patch(app, ANN, "anns", permission.id, "OWNER")


def test_groups_come_from_caller_and_settings(app: FakeApp) -> None:
    create(app)
    permissions.create(app, ANN, "anns", grantee_type="GROUP", email="Team@x.org", role="WRITER")
    with pytest.raises(PermissionDenied):
        tuned_models.get(app, BOB, "anns")
    assert tuned_models.get(app, replace(BOB, groups=frozenset({"team@x.org"})), "anns")
    app.settings = replace(app.settings, groups="a@x.org=c@x.org, Team@x.org=Bob@x.org c@x.org")
    member = access.caller(app, BOB.owner, SCOPES)
    assert member.groups == {"team@x.org"}
    tuned_models.patch(app, member, "anns", {"display_name": "ours"})


def test_a_user_is_no_group_and_a_group_no_user(app: FakeApp) -> None:
    create(app)
    permissions.create(app, ANN, "anns", grantee_type="GROUP", email=BOB.owner, role="READER")
    permissions.create(app, ANN, "anns", grantee_type="USER", email="team@x.org", role="READER")
    for caller in (BOB, replace(BOB, owner="eve@x.org", groups=frozenset({"team@x.org"}))):
        with pytest.raises(PermissionDenied):
            tuned_models.get(app, caller, "anns")


def test_everyone_may_ask_but_finds_it_only_when_looking_for_it(app: FakeApp) -> None:
    create(app)
    permissions.create(app, ANN, "anns", grantee_type="EVERYONE", email="", role="READER")
    assert tuned_models.get(app, BOB, "anns").id == "anns"

    def found(caller: Caller, filter: str) -> list[str]:
        page = tuned_models.list_(app, caller, page_size=10, filter=filter)
        return [model.id for model in page.items]

    assert found(BOB, "") == []
    assert found(BOB, "readers:everyone") == ["anns"]
    assert found(BOB, "readers:everyone owner:me") == []
    assert found(ANN, "readers:everyone owner:me") == ["anns"]
    assert operations.list_(app, BOB, None, page_size=10).items == ()


def test_lists_by_role(app: FakeApp) -> None:
    create(app)
    create(app, BOB, "bobs")
    share(app)

    def found(filter: str) -> list[str]:
        page = tuned_models.list_(app, BOB, page_size=10, filter=filter)
        return [model.id for model in page.items]

    assert found("") == found("readers:me") == ["bobs", "anns"]
    assert found("writers:me") == found("owner:me") == ["bobs"]
    assert {o.tuned_model.id for o in operations.list_(app, BOB, None, page_size=9).items} == {
        "bobs",
        "anns",
    }
    for wrong in ("owner:ann@x.org", "writers:", "readers:you"):
        with pytest.raises(InvalidArgument, match="owner:me, writers:me"):
            found(wrong)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"grantee_type": None, "email": "b@x.org", "role": "READER"}, "grantee_type"),
        ({"grantee_type": "USER", "email": "", "role": "READER"}, "email_address"),
        ({"grantee_type": "GROUP", "email": "a b", "role": "READER"}, "email_address"),
        ({"grantee_type": "EVERYONE", "email": "b@x.org", "role": "READER"}, "email_address"),
        ({"grantee_type": "USER", "email": "b@x.org", "role": None}, "role"),
    ],
)
def test_what_no_permission_can_be(app: FakeApp, arguments: dict[str, Any], words: str) -> None:
    create(app)
    with pytest.raises(InvalidArgument, match=words):
        permissions.create(app, ANN, "anns", **arguments)


def test_one_permission_for_each_grantee(app: FakeApp) -> None:
    create(app)
    first = share(app)
    with pytest.raises(AlreadyExists, match=first.id):
        share(app, role="WRITER")
    with pytest.raises(AlreadyExists):
        share(app, ANN.owner)


def test_permissions_that_are_not_there(app: FakeApp) -> None:
    create(app)
    verbs: list[Callable[[], object]] = [
        lambda: permissions.get(app, ANN, "anns", "1"),
        lambda: permissions.patch(app, ANN, "anns", "1", "READER"),
        lambda: permissions.delete(app, ANN, "anns", "1"),
    ]
    for verb in verbs:
        with pytest.raises(NotFound, match="no permission 1"):
            verb()


def test_pages_of_permissions(app: FakeApp) -> None:
    create(app)
    for number in range(4):
        share(app, f"u{number}@x.org")
    seen, token = set(), ""
    for _ in range(3):
        page = permissions.list_(app, ANN, "anns", page_size=2, page_token=token)
        seen |= {found.email for found in page.items}
        token = page.next_page_token
    assert token == "" and len(seen) == 5
    with pytest.raises(InvalidArgument, match="page_token"):
        first = permissions.list_(app, ANN, "anns", page_size=2).next_page_token
        permissions.list_(app, ADMIN, "anns", page_size=2, page_token=first)


def test_two_hand_it_over_at_once_and_one_owner_is_left(app: FakeApp) -> None:
    create(app)

    def hand_over(number: int) -> None:
        try:
            permissions.transfer_ownership(app, ADMIN, "anns", f"u{number}@x.org")
        except KamertonError:
            pass

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(hand_over, range(16)))
    assert len(owners(app)) == 1
