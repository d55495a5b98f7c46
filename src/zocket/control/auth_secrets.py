"""The shared secret of a `jwt-secret` project, sealed at rest like every other secret.

Rules: a record holds `sealed:{key}:{ciphertext}`; one that was written before secrets were sealed is read as it is and
sealed with the next change. The plain secret is only in the `AuthConfig` of one request.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

from zocket.control.schemas import AuthConfig
from zocket.control.secrets import Sealed

if TYPE_CHECKING:
    from zocket.control.records import ProjectAuth
    from zocket.control.secrets import Vault

_PREFIX: Final = "sealed:"
_PLACE: Final = "auth.secret"


class AuthSecrets:
    """Seals and opens the secrets of projects' auth configurations."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def seal(self, secret: str | None, project_id: str) -> str | None:
        """What the record of the project holds for a secret."""
        if secret is None:
            return None
        sealed = self._vault.seal(secret, project_id, _PLACE)
        return f"{_PREFIX}{sealed.key_id}:{base64.b64encode(sealed.ciphertext).decode()}"

    def config(self, record: ProjectAuth | None) -> AuthConfig:
        """The configuration with its plain secret; mode `none` where there is no record.

        Raises:
            Unavailable: the key of the secret is not here, or the record was changed.
        """
        if record is None:
            return AuthConfig()
        config = AuthConfig.model_validate(record, from_attributes=True)
        if config.secret is None or not config.secret.startswith(_PREFIX):
            return config
        key_id, _, text = config.secret.removeprefix(_PREFIX).partition(":")
        sealed = Sealed(base64.b64decode(text), key_id)
        return config.model_copy(update={"secret": self._vault.open(sealed, record.project_id, _PLACE)})
