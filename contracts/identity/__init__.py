"""Messages of the identity service: users, companies, access and login."""

from contracts.identity.access import *
from contracts.identity.api_token import *
from contracts.identity.company import *
from contracts.identity.fields import *
from contracts.identity.identity_link import *
from contracts.identity.oidc import *
from contracts.identity.owner import *
from contracts.identity.ssh_key import *
from contracts.identity.user import *
