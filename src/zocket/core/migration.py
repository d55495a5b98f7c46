"""State that an older deployment wrote, brought up to what the class is now.

Rules: migrations work on plain JSON values, one version at a time, and run before the state is decoded; state of a
newer version than the class is refused; nothing is ever reset.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from zocket.errors import DefinitionError, StoredStateError

if TYPE_CHECKING:
    from collections.abc import Mapping

MIGRATION_MARK = "__zocket_from_version__"

Migration = Callable[[Any], Any]
"""Takes the JSON value of a state of one version, gives that of the next."""

M = TypeVar("M", bound=Callable[..., Any])


def migrate(*, from_version: int) -> Callable[[M], M]:
    """Marks a static method of a durable actor that brings state from one version to the next.

    ```python
    @migrate(from_version=1)
    @staticmethod
    def name_the_author(state: dict[str, Any]) -> dict[str, Any]: ...
    ```

    Args:
        from_version: the version that it takes; it gives `from_version + 1`.
    """

    def mark(function: M) -> M:
        target = function.__func__ if isinstance(function, staticmethod) else function
        setattr(target, MIGRATION_MARK, from_version)
        return function

    return mark


def migrations_of(cls: type, version: int) -> dict[int, Migration]:
    """The migrations of a class by the version that they take.

    Raises:
        DefinitionError: the version is no positive integer, a step is doubled, out of range or no static method.
    """
    if type(version) is not int or version < 1:
        raise DefinitionError(f"{cls.__name__}.version: expected an integer of at least 1, got {version!r}")
    found: dict[int, Migration] = {}
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            function = value.__func__ if isinstance(value, staticmethod) else value
            step = getattr(function, MIGRATION_MARK, None)
            if step is None:
                continue
            label = f"{cls.__name__}.{name}"
            if not isinstance(value, staticmethod) or inspect.iscoroutinefunction(function):
                raise DefinitionError(f"{label}: a migration is a plain @staticmethod that takes and gives the state")
            if step in found and base is cls:
                raise DefinitionError(f"{label}: another migration takes version {step}")
            if not 1 <= step < version:
                raise DefinitionError(f"{label}: from_version={step}, but the class has the version {version}")
            found[step] = function
    return found


def bring_up(name: str, state: Any, stored: int, version: int, migrations: Mapping[int, Migration]) -> Any:
    """The JSON value of a stored state as the present version has it.

    Raises:
        StoredStateError: it is of a newer version, a step is missing, or a migration raised.
    """
    if stored > version:
        raise StoredStateError(f"{name}: the stored state has version {stored}, this deployment knows up to {version}")
    for step in range(stored, version):
        if step not in migrations:
            raise StoredStateError(f"{name}: the stored state has version {stored}, and nothing migrates from {step}")
        try:
            state = migrations[step](state)
        except Exception as error:  # border: a developer's migration
            raise StoredStateError(f"{name}: the migration from version {step} raised {error!r}") from error
    return state
