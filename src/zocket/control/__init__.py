"""The control plane: deployments, bundles, authorization. Never imports actor code."""
