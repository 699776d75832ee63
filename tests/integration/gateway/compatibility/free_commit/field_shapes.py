"""Field types of the resources of the Free Commit API."""

NUMBER, TEXT, NULL, BOOL, NUMBERS, TEXTS = int, str, type(None), bool, list, list
PROJECT: dict[str, tuple[type, ...]] = {
    "id": (NUMBER,),
    "name": (TEXT,),
    "description": (TEXT, NULL),
    "repository": (TEXT,),
    "branch": (TEXT,),
    "spec_file_path": (TEXT,),
    "keep_number_build": (NUMBER, NULL),
    "allow_concurrent_execution": (BOOL,),
    "signature_key": (TEXT,),
    "available_steps": (TEXTS,),
    "repository_credential_id": (NUMBER, NULL),
    "secrets_id": (NUMBERS,),
    "builds_id": (NUMBERS,),
    "developers_id": (NUMBERS,),
    "executor_id": (NUMBER,),
    "last_build": (dict,),
}
DEVELOPER: dict[str, tuple[type, ...]] = {
    "id": (NUMBER,),
    "username": (TEXT,),
    "password": (TEXT,),
    "enabled": (BOOL,),
    "roles": (TEXTS,),
    "email": (TEXT, NULL),
    "github_username": (TEXT, NULL),
    "gitlab_username": (TEXT, NULL),
    "projects_id": (NUMBERS,),
}
SECRET: dict[str, tuple[type, ...]] = {
    "id": (NUMBER,),
    "name": (TEXT,),
    "escape_char": (TEXT, NULL),
    "env": (TEXT, NULL),
    "projects_id": (NUMBERS,),
}
CREDENTIAL: dict[str, tuple[type, ...]] = {"id": (NUMBER,), "name": (TEXT,)}
EXECUTOR: dict[str, tuple[type, ...]] = {"id": (NUMBER,), "name": (TEXT,), "driver": (TEXT,), "variables": (dict,)}
SHAPES = {
    "project": PROJECT,
    "developer": DEVELOPER,
    "secret": SECRET,
    "credential": CREDENTIAL,
    "executor": EXECUTOR,
}
