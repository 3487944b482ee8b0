"""Users and their devices as the core needs them: one profile a user, read in one go."""

from enum import StrEnum

from msgspec import Struct

from dispatcher.domain.clock import Millis
from dispatcher.domain.paths import VENDOR_PATHS, Path


class Platform(StrEnum):
    """A device's platform; ``none`` stands for a user without any device."""

    IOS = "ios"
    ANDROID = "android"
    HARMONY = "harmony"
    WEB = "web"
    NONE = "none"


#: A PushKit token: it rings, and every push to it must be a call.
VOIP = "voip"


class TokenState(StrEnum):
    ACTIVE = "active"
    DEAD = "dead"
    STALE = "stale"


class PushToken(Struct, frozen=True, array_like=True, kw_only=True):
    """One vendor address of a device. Prints only its ends."""

    path: Path
    kind: str  #: device or voip (APNs), registration or fid (FCM)
    value: str
    environment: str | None = None  #: APNs: production or sandbox
    topic: str | None = None
    state: TokenState = TokenState.ACTIVE
    registered_at: Millis = 0
    ended_at: Millis | None = None  #: since when it is dead or stale
    reason: str | None = None  #: why: the provider's word, replaced, moved, unseen, idle

    @property
    def masked(self) -> str:
        """First and last four characters: enough to compare, too little to send to."""
        return f"{self.value[:4]}...{self.value[-4:]}"

    def __repr__(self) -> str:
        return f"PushToken({self.path}, {self.kind}, {self.masked}, {self.state})"


def _rank(token: PushToken) -> tuple[bool, Millis]:
    return token.kind == VOIP, token.registered_at


class Device(Struct, frozen=True, array_like=True, kw_only=True):
    """One install of the app, bound to a user under ``epoch``; the epoch rises with every change of user."""

    device_id: str
    epoch: int
    platform: Platform
    tokens: tuple[PushToken, ...] = ()
    alerts_enabled: bool = True
    app_version: str | None = None
    os_version: str | None = None
    manufacturer: str | None = None
    locale: str | None = None
    time_zone: str | None = None
    last_seen: Millis = 0

    def token(self, path: Path, *, call: bool = False) -> PushToken | None:
        """The newest active token for *path*: for a call the one that rings, where there is one; never for others."""
        newest: PushToken | None = None
        for token in self.tokens:
            if token.path is not path or token.state is not TokenState.ACTIVE or (token.kind == VOIP and not call):
                continue
            if newest is None or _rank(token) > _rank(newest):
                newest = token
        return newest

    @property
    def vendor_path(self) -> Path | None:
        """What ``push`` in a rule stands for on this device: the path of its newest live vendor token."""
        found = [
            token
            for token in self.tokens
            if token.path in VENDOR_PATHS and token.state is TokenState.ACTIVE and token.kind != VOIP
        ]
        newest = max(found, key=lambda token: token.registered_at, default=None)
        return newest.path if newest else None


class Profile(Struct, frozen=True, array_like=True, kw_only=True):
    """All that planning and sending need of one user. ``rev`` rises with every change of user or devices.

    ``phone`` is sealed (see dispatcher.sealing); only the SMS path opens it.
    """

    app: str
    user_id: str
    rev: int = 0
    phone: bytes | None = None
    phone_country: str | None = None  #: country calling code digits, e.g. "86"
    phone_verified: bool = False
    phone_usable_from: Millis = 0
    locale: str | None = None
    time_zone: str | None = None
    quiet_from: str | None = None  #: "22:00"
    quiet_to: str | None = None
    sms_opt_in: bool | None = None  #: None: never asked
    muted_classes: tuple[str, ...] = ()
    devices: tuple[Device, ...] = ()

    def device(self, device_id: str) -> Device | None:
        return next((device for device in self.devices if device.device_id == device_id), None)

    def __repr__(self) -> str:
        return f"Profile({self.app}, {self.user_id}, rev={self.rev}, devices={len(self.devices)})"
