"""The control plane: deployments, bundles, authorization. Never imports actor code.

`api.create_app` is the ASGI application, `process.run` the process around it. `records` is the only file that knows the
database, `bundles` the only one that knows where bundles lie, `tokens` and `key_sets` the only ones that look into
a client's token.
"""
