"""What the projects service takes, answers and records: projects, secrets, credentials and executors."""

from contracts.projects.credential import *
from contracts.projects.delivery import *
from contracts.projects.executor import *
from contracts.projects.fields import *
from contracts.projects.membership import *
from contracts.projects.project import *
from contracts.projects.secret import *
