"""Workspaces, members and invitations (docs/control-api.md)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from zocket.control.api.access import OPTIONAL, Granted, Id, public, requires
from zocket.control.api.cookies import address_of, base_url, check_same_site, set_session
from zocket.control.api.services import Services, services_of
from zocket.control.callers import COOKIE
from zocket.control.identity.schemas import (
    Acceptance,
    Accepted,
    InvitationPreview,
    InvitationView,
    IssuedInvitation,
    MemberView,
    NewInvitation,
    NewWorkspace,
    RoleChange,
    WorkspaceView,
)
from zocket.control.identity.throttle import network_of
from zocket.control.paging import Page, Paging, paging
from zocket.control.schemas import Done
from zocket.errors import Unauthorized

router = APIRouter(prefix="/api", tags=["workspaces"])

Parts = Annotated[Services, Depends(services_of)]
Asked = Annotated[Paging, Depends(paging)]
Person = Annotated[Granted, requires()]
MaybePerson = Annotated[Granted, requires(optional=True)]
Viewer = Annotated[Granted, requires(workspace="viewer")]
Owner = Annotated[Granted, requires(workspace="owner")]


@router.get("/workspaces")
async def workspaces(granted: Person, parts: Parts, asked: Asked) -> Page[WorkspaceView]:
    """One's workspaces."""
    return await parts.workspaces.of(granted.user_id, asked)


@router.post("/workspaces", status_code=201)
async def create_workspace(granted: Person, parts: Parts, body: NewWorkspace) -> WorkspaceView:
    """A new workspace, oneself its owner."""
    return await parts.workspaces.create(granted.user_id, body.name.strip())


@router.get("/workspaces/{workspace_id}/members")
async def members(granted: Viewer, parts: Parts, asked: Asked) -> Page[MemberView]:
    """Who is in the workspace."""
    return await parts.workspaces.members(granted.workspace_id, asked)


@router.patch("/workspaces/{workspace_id}/members/{user_id}")
async def change_role(granted: Owner, parts: Parts, user_id: Id, body: RoleChange) -> Done:
    """Changes a member's role; the last owner stays one."""
    await parts.workspaces.set_role(granted.workspace_id, user_id, body.role)
    return Done()


@router.delete("/workspaces/{workspace_id}/members/{user_id}")
async def remove_member(granted: Owner, parts: Parts, user_id: Id) -> Done:
    """Takes a member out; the last owner stays."""
    await parts.workspaces.remove(granted.workspace_id, user_id)
    return Done()


@router.get("/workspaces/{workspace_id}/invitations")
async def invitations(granted: Owner, parts: Parts, asked: Asked) -> Page[InvitationView]:
    """The invitations that wait."""
    return await parts.workspaces.invitations(granted.workspace_id, asked)


@router.post("/workspaces/{workspace_id}/invitations", status_code=201)
async def invite(granted: Owner, request: Request, parts: Parts, body: NewInvitation) -> IssuedInvitation:
    """Invites an address; the link is shown once."""
    return await parts.workspaces.invite(granted.workspace_id, body, granted.user_id, base_url(request, parts))


@router.delete("/workspaces/{workspace_id}/invitations/{invitation_id}")
async def withdraw_invitation(granted: Owner, parts: Parts, invitation_id: Id) -> Done:
    """Takes an invitation back."""
    await parts.workspaces.withdraw(granted.workspace_id, invitation_id)
    return Done()


@router.get("/invitations/{token}", dependencies=[public])
async def preview_invitation(request: Request, parts: Parts, token: Id) -> InvitationPreview:
    """What the link of an invitation is for."""
    parts.throttles.invitations.take(network_of(address_of(request)))
    return await parts.workspaces.preview(token)


@router.post("/invitations/{token}/accept", openapi_extra=OPTIONAL)
async def accept_invitation(
    granted: MaybePerson,
    request: Request,
    response: Response,
    parts: Parts,
    token: Id,
    body: Acceptance | None = None,
) -> Accepted:
    """Becomes a member; where people sign in by password, somebody without an account chooses one here.

    Such a person is signed in by it.
    """
    if granted.caller.user_id is not None:
        return await parts.workspaces.accept(token, granted.caller.user_id)
    check_same_site(request)
    if body is None or body.password is None or parts.sign_in is not None:
        raise Unauthorized("sign in, then accept")
    parts.throttles.invitations.take(network_of(address_of(request)))
    await parts.workspaces.preview(token)
    hashed = await parts.passwords.hash(body.password)
    accepted, user = await parts.workspaces.accept_as_newcomer(token, body.name, hashed)
    set_session(response, request, parts, await parts.browsers.start(user.id, request.cookies.get(COOKIE)))
    return accepted
