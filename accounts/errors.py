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


class PermissionRequiredError(AccountError):
    """The account lacks a permission of Django that staff need for others' keys."""

    code = "permission_required"
    http_status = 403


class OwnerHasMoreRightsError(AccountError):
    """The key's owner may do what the account that asks may not."""

    code = "owner_has_more_rights"
    http_status = 403


class ScopeNotHeldError(AccountError):
    """The wanted key has a scope that the key that asks for it lacks."""

    code = "scope_not_held"
    http_status = 403
