"""Routes of companies, which own projects like users do."""

from functools import partial

from contracts.identity import (
    ChangeCompanyTitle,
    CreateCompany,
    DeleteCompany,
    GetCompany,
    ListCompanies,
    RenameCompany,
    SetCompanyMembers,
)
from gateway.adapters.free_commit import models as fc
from gateway.framework.fields import integers, text
from gateway.framework.route_table import Shown, command, query
from gateway.routes.route_builders import patch_field
from libs.messaging.request_reply import ReturnQuery

_company = Shown(ReturnQuery(GetCompany, "company_id"), fc.ONE_COMPANY)
patch_company = partial(patch_field, "/admin/companies/{company_id:id}", "company", shows=_company)

COMPANIES = (
    query("/developer/companies", ListCompanies, write=fc.COMPANIES),
    query("/developer/companies/{company_id:id}", GetCompany, write=fc.ONE_COMPANY),
    query("/admin/companies", ListCompanies, write=fc.COMPANIES),
    query("/admin/companies/{company_id:id}", GetCompany, write=fc.ONE_COMPANY),
    command("POST", "/admin/companies", CreateCompany, body=fc.COMPANY, status=201, shows=_company),
    patch_company("title", ChangeCompanyTitle, title=text),
    patch_company("alias", RenameCompany, alias=text),
    patch_company("members", SetCompanyMembers, members_id=integers.otherwise(())),
    command(
        "DELETE", "/admin/companies/{company_id:id}", DeleteCompany, status=204, errors=("COMPANY_PROJECTS_NOT_EMPTY",)
    ),
)
