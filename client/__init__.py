"""Client of the HTTP API: the commands of `headrace` for users, and the library behind `headrace_client`.

It uses public routes only and imports no modules of the server.
"""
