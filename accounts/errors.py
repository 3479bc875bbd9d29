"""What can be wrong with a request that concerns accounts and keys."""

from __future__ import annotations


class AccountError(Exception):
    """Base of these errors; the message is a sentence for people without a secret."""

    code = "invalid"
    http_status = 400

    @property
    def message(self) -> str:
        """The sentence for people."""
        return str(self.args[0])


class KeyNotRotatableError(AccountError):
    """The key has a successor already, or opens nothing any more."""

    code = "key_not_rotatable"
    http_status = 409
