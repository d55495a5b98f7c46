"""People: accounts, sign-in by password or OpenID Connect, browsers, command lines, workspaces, tokens.

Each file is one kind of operation over the records; none knows HTTP beyond what an issuer is asked.
"""
