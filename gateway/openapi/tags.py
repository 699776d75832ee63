"""The groups in which the API is described."""

TAGS = {
    "Access": "Logging in, and who the token is.",
    "Builds": "Launching, the queue, running and finished builds, their jobs, kill, and files that jobs left.",
    "Logs": "Logs, section by section, live and finished.",
    "Projects": "What is built, from where, by whom, with which secrets.",
    "Secrets": "Environment variables of builds. Values are written, and read only by administrators who ask for them.",
    "Credentials": "SSH keys that read repositories.",
    "Developers": "Users and their roles.",
    "Executors": "Named sets of variables.",
    "Lists": "Pages with filters and order, and statistics.",
    "Runners": "Runners, their registration and their jobs, as GitFlic has them.",
    "Users": "Users and their SSH keys, as GitFlic has them.",
    "Companies": "Owners of projects that have several members.",
    "History": "What happened to a thing, and how it was at a moment.",
    "Webhooks": "Pushes of GitHub and GitLab, and what became of them.",
    "Server": "Configuration, and whether the server is there.",
    "Events": "Events of builds and runners, as they happen.",
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
"""The first of these words that a path holds says where it belongs."""


def tag_of(path: str) -> str:
    segments = path.split("/")
    return next(tag for word, tag in BY_SEGMENT.items() if word in segments)
