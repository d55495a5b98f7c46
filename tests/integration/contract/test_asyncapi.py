"""The document is one of AsyncAPI 3, by the official schema of the specification."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from jsonschema import Draft7Validator

from tests.unit.contract.samples import chat, everything
from zocket.contract import contract_of
from zocket.contract.asyncapi import asyncapi

if TYPE_CHECKING:
    from collections.abc import Callable

    from zocket import App

pytestmark = pytest.mark.realtime

SPECS: Final = "@asyncapi/specs@6.11.1"
"""Apache-2.0; fetched when the test runs."""


@pytest.fixture(scope="session")
def official(npm: Callable[[str], Path]) -> Draft7Validator:
    file = npm(SPECS) / "@asyncapi" / "specs" / "schemas" / "3.0.0-without-$id.json"
    return Draft7Validator(json.loads(file.read_text()))


@pytest.mark.parametrize("app", [chat, everything])
def test_the_document_is_one_of_asyncapi_3(app: App, official: Draft7Validator) -> None:
    document = asyncapi(contract_of(app.definition), "An app")
    official.validate(document)
    assert resolved_all(document)


def test_a_broken_document_is_none(official: Draft7Validator) -> None:
    document: Any = asyncapi(contract_of(chat.definition), "An app")
    document["operations"]["chat_post"]["action"] = "call"
    assert not official.is_valid(document)


def resolved_all(document: Any) -> bool:
    """Whether every reference leads somewhere."""
    waiting, found = [document], 0
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict) and isinstance(node.get("$ref"), str):
            at = document
            for part in node["$ref"].removeprefix("#/").split("/"):
                at = at[part]
            found += 1
        waiting += node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return found > 0
