"""Tags that group the operations."""

TAGS = {
    "Access": "Sign-in and tokens.",
    "Builds": "Launches, queued, running and finished builds, their jobs, cancellation, and artifacts.",
    "Logs": "Logs of running and finished builds, section by section.",
    "Projects": "What is built: repository, branch, developers, secrets.",
    "Secrets": "Environment variables of builds. Only administrators can read values; each access is recorded.",
    "Credentials": "SSH keys for reading repositories.",
    "Developers": "Users and their roles.",
    "Executors": "Named sets of variables.",
    "Lists": "Paged lists with filters and order, and statistics.",
    "Runners": "Runners, their registration and their jobs (GitFlic's API).",
    "Users": "Users and their SSH keys (GitFlic's API).",
    "Companies": "Companies own projects and have members.",
    "History": "The history of an object, and its state at a point in time.",
    "Webhooks": "Webhooks of GitHub and GitLab, and their deliveries.",
    "Server": "Configuration and availability of the server.",
    "Events": "Live events of builds and runners.",
}

BY_SEGMENT = {
    "runners": "Runners",
    "deliveries": "Webhooks",
    "tokens": "Access",
    "info": "Access",
    "auth": "Access",
    "builds": "Builds",
    "artifacts": "Builds",
    "artifact": "Builds",
    "jobs": "Builds",
    "logs": "Logs",
    "paginations": "Lists",
    "statistics": "Lists",
    "history": "History",
    "webhooks": "Webhooks",
    "projects": "Projects",
    "secrets": "Secrets",
    "credentials": "Credentials",
    "developers": "Developers",
    "executors": "Executors",
    "companies": "Companies",
    "user": "Users",
    "config": "Server",
    "ping": "Server",
    "events": "Events",
}
"""Maps path segments to tags. A path has the tag of the first entry whose segment it contains."""


def tag_of(path: str) -> str:
    segments = path.split("/")
    return next(tag for word, tag in BY_SEGMENT.items() if word in segments)
