"""Every error a person can meet, in one tree.

    StarbergError                exit 1
    ├── UsageError               exit 2   the command line or a setting is wrong
    │   └── DeclarationError     exit 2   a warehouse file is wrong: file, line, field
    ├── CheckFailed              exit 3   an audit on the branch stopped the publish
    ├── GuardStopped             exit 4   the blast-radius guard stopped the publish
    ├── Busy                     exit 5   another run holds the warehouse
    │   └── Conflict             exit 5   another run published first; this one may not
    ├── CredentialsError         exit 7   a key is missing, wrong or spent
    │   └── QuotaSpent           exit 7   a quota or budget is spent
    ├── SourceDataError          exit 1   a stream cannot be read: page, row or column named
    ├── LakeError                exit 1   a file or table of the lake is missing or damaged
    └── TransientError           exit 6   a service did not answer; the same call may work later
        └── Unreachable          exit 6   retries are used up

Whether a call may be retried is the class: `TransientError` may, nothing else may. A message is one line: what
failed, where it looked; `hint` is what to type next.
"""

from __future__ import annotations


class StarbergError(Exception):
    """The root: one line for people, a hint, an exit code."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(one_line(message))
        self.hint = one_line(hint)

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message}. {self.hint}" if self.hint else message


class UsageError(StarbergError):
    """The command line or a setting is wrong."""

    exit_code = 2


class DeclarationError(UsageError):
    """A warehouse file is wrong.

    `where` is `file`, `file:line` or `file:line: field`.
    """

    def __init__(self, where: str, message: str, *, hint: str = "") -> None:
        super().__init__(f"{where}: {message}", hint=hint)
        self.where = where


class CheckFailed(StarbergError):
    """An audit on the branch stopped the publish."""

    exit_code = 3


class GuardStopped(StarbergError):
    """The blast-radius guard stopped the publish: too many rows would be deleted or closed."""

    exit_code = 4


class Busy(StarbergError):
    """Another run holds the warehouse."""

    exit_code = 5


class Conflict(Busy):
    """Another run published, or reclaimed this one, first: nothing of this run was published."""


class CredentialsError(StarbergError):
    """A key is missing, wrong or not allowed to do this."""

    exit_code = 7


class QuotaSpent(CredentialsError):
    """The source's quota or the declared request budget is spent; what was fetched is kept."""


class SourceDataError(StarbergError):
    """A stream cannot be read as a whole (malformed page, HTML, truncated file, lost keys)."""


class LakeError(StarbergError):
    """A file or table of the lake is missing, damaged, or of a newer format."""


class TransientError(StarbergError):
    """A service did not answer this time; the same call may work later."""

    exit_code = 6


class Unreachable(TransientError):
    """A service did not answer and the retries are used up."""


def one_line(text: str) -> str:
    """Fold control characters, so that a server's text cannot forge log lines."""
    folded = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(folded.split())
