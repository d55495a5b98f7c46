"""Paths of the control plane's API, with their parts escaped."""

from __future__ import annotations

from urllib.parse import quote


def api_path(template: str, *parts: str) -> str:
    """A path: `api_path("/api/deployments/{}", deployment_id)`."""
    return template.format(*(quote(part, safe="") for part in parts))


def project_path(project: str, template: str = "", *parts: str) -> str:
    """The path of a project, or of something below it: `project_path(slug, "/env/{}", name)`."""
    return api_path("/api/projects/{}" + template, project, *parts)
