"""Who the user of an association is (PS3.7 D.3.3.7): what a client says, what a listener's `on_user_identity` sees."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Identity", "UserIdentity"]

NAME, PASSCODE, KERBEROS, SAML, JWT = 1, 2, 3, 4, 5


@dataclass(frozen=True, slots=True)
class Identity:
    """A user, as one of the five types of PS3.7 table D.3-14. Nothing of it is encrypted by DICOM: use TLS.

    With `wants_response` the peer is asked to say that it has looked at it: `Association.identity_response` is None
    when it has not, which the standard allows."""

    type: int
    primary: bytes
    secondary: bytes = b""
    wants_response: bool = False

    @classmethod
    def user(cls, name: str, passcode: str | None = None, *, wants_response: bool = False) -> Identity:
        """A name (type 1), or a name and passcode (type 2)."""
        if passcode is None:
            return cls(NAME, name.encode(), b"", wants_response)
        return cls(PASSCODE, name.encode(), passcode.encode(), wants_response)

    @classmethod
    def kerberos(cls, ticket: bytes, *, wants_response: bool = False) -> Identity:
        """A Kerberos service ticket (type 3)."""
        return cls(KERBEROS, ticket, b"", wants_response)

    @classmethod
    def saml(cls, assertion: str | bytes, *, wants_response: bool = False) -> Identity:
        """A SAML assertion (type 4)."""
        return cls(SAML, assertion.encode() if isinstance(assertion, str) else assertion, b"", wants_response)

    @classmethod
    def jwt(cls, token: str | bytes, *, wants_response: bool = False) -> Identity:
        """A JSON Web Token (type 5)."""
        return cls(JWT, token.encode() if isinstance(token, str) else token, b"", wants_response)

    def __post_init__(self) -> None:
        if self.type not in (NAME, PASSCODE, KERBEROS, SAML, JWT):
            raise ValueError(f"a user identity of type {self.type}: 1 to 5 (PS3.7 table D.3-14)")
        if len(self.primary) > 0xFFFF or len(self.secondary) > 0xFFFF:
            raise ValueError("a field of a user identity has 65,535 bytes at most")

    def items(self) -> tuple[int, bytes, bytes, bool]:
        """As the association core wants it."""
        return self.type, self.primary, self.secondary, self.wants_response

    def __repr__(self) -> str:  # neither passcodes nor tokens belong in a log
        shown = self.primary if self.type in (NAME, PASSCODE) else f"{len(self.primary)} bytes"
        return f"Identity(type={self.type}, {shown!r})"


@dataclass(frozen=True, slots=True)
class UserIdentity:
    """What a listener is told. `type` 0: the peer says nothing of its user."""

    type: int
    primary: bytes
    secondary: bytes
    wants_response: bool
    calling_ae: str
    called_ae: str
    peer: str

    @property
    def name(self) -> str:
        """The user's name of types 1 and 2, else ''."""
        return self.primary.decode("utf-8", "replace") if self.type in (NAME, PASSCODE) else ""

    @property
    def passcode(self) -> str:
        """The passcode of type 2, else ''."""
        return self.secondary.decode("utf-8", "replace") if self.type == PASSCODE else ""

    def __repr__(self) -> str:
        return f"UserIdentity(type={self.type}, name={self.name!r}, peer={self.peer!r})"
