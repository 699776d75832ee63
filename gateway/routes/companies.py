"""Companies: who may own projects beside users."""

from functools import partial

from contracts.identity import (
    ChangeCompanyTitle,
    ChooseMembers,
    CreateCompany,
    DeleteCompany,
    GetCompany,
    ListCompanies,
    RenameCompany,
)
from gateway.dialects import free_commit as fc
from gateway.fields import integers, text
from gateway.routes.patching import change
from gateway.routing import Shown, command, query
from libs.messaging import Showing

_company = Shown(Showing(GetCompany, "company_id"), fc.ONE_COMPANY)
company = partial(change, "/admin/companies/{company_id:id}", "company", shows=_company)

COMPANIES = (
    query("/developer/companies", ListCompanies, write=fc.COMPANIES),
    query("/developer/companies/{company_id:id}", GetCompany, write=fc.ONE_COMPANY),
    query("/admin/companies", ListCompanies, write=fc.COMPANIES),
    query("/admin/companies/{company_id:id}", GetCompany, write=fc.ONE_COMPANY),
    command("POST", "/admin/companies", CreateCompany, body=fc.COMPANY, status=201, shows=_company),
    company("title", ChangeCompanyTitle, title=text),
    company("alias", RenameCompany, alias=text),
    company("members", ChooseMembers, members_id=integers.otherwise(())),
    command(
        "DELETE", "/admin/companies/{company_id:id}", DeleteCompany, status=204, errors=("COMPANY_PROJECTS_NOT_EMPTY",)
    ),
)
