"""What the identity service takes, answers and records: users, companies, access, and logging in."""

from contracts.identity.access import *
from contracts.identity.api_token import *
from contracts.identity.company import *
from contracts.identity.fields import *
from contracts.identity.owner import *
from contracts.identity.ssh_key import *
from contracts.identity.user import *
