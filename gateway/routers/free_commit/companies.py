"""Routes of companies, which can own projects as users do."""

from functools import partial
from typing import Annotated

from fastapi import Security

from contracts.identity import (
    ChangeCompanyTitle,
    CreateCompany,
    DeleteCompany,
    GetCompany,
    ListCompanies,
    RenameCompany,
    SetCompanyMembers,
)
from gateway.adapters.free_commit.models import COMPANIES, ONE_COMPANY
from gateway.adapters.free_commit.request_fields import COMPANY
from gateway.dependencies import admin, developer
from gateway.forwarding.changes import forward_change
from gateway.forwarding.forward import forward
from gateway.routers.prefix_router import free_commit_router
from libs.eventstore.decider import Actor
from libs.messaging.request_reply import ReturnMessage

DeveloperReader = Annotated[Actor, Security(developer, scopes=["COMPANY_READ"])]
AdminReader = Annotated[Actor, Security(admin, scopes=["COMPANY_READ"])]
AdminWriter = Annotated[Actor, Security(admin, scopes=["COMPANY_WRITE"])]

developers = free_commit_router("/api/developer/companies", "Companies")
admins = free_commit_router("/api/admin/companies", "Companies")
changed = ReturnMessage(GetCompany, "company_id")
change = partial(
    forward_change,
    admins,
    "/{company_id:id}",
    body=COMPANY,
    user=AdminWriter,
    response=ONE_COMPANY,
    return_message=changed,
)
LIST, GET = "List all companies by id.", "Get a company by its number."

forward(developers, "GET", "", ListCompanies, DeveloperReader, LIST, response=COMPANIES)
forward(developers, "GET", "/{company_id:id}", GetCompany, DeveloperReader, GET, response=ONE_COMPANY)
forward(admins, "GET", "", ListCompanies, AdminReader, LIST, response=COMPANIES)
forward(admins, "GET", "/{company_id:id}", GetCompany, AdminReader, GET, response=ONE_COMPANY)
forward(
    admins,
    "POST",
    "",
    CreateCompany,
    AdminWriter,
    "Create a company. Its members jointly own its projects.",
    body=COMPANY,
    response=ONE_COMPANY,
    return_message=changed,
    status_code=201,
)
change("title", ChangeCompanyTitle, "Change the company's title.")
change("alias", RenameCompany, "Change the company's alias; its projects stay with it.", required=False)
change("members", SetCompanyMembers, "Replace the company's members.", field="members_id", required=False)
forward(
    admins,
    "DELETE",
    "/{company_id:id}",
    DeleteCompany,
    AdminWriter,
    "Delete a company. Rejected while it owns projects.",
    status_code=204,
    errors=("COMPANY_PROJECTS_NOT_EMPTY",),
)
