"""The one exception for mistakes a user can mend; the command line prints it as one line."""

from __future__ import annotations


class UserError(ValueError):
    """What is wrong, where, and what would be right, in one line."""
