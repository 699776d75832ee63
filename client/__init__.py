"""Client of the HTTP API: the commands of `headrace` for users, and the library behind `headrace_client`.

It uses only public routes, and imports no modules of the server except the one with the version.
"""
