"""What vendors said of an app's credentials lately, in words: a key that reads well may be another team's."""

from collections.abc import Mapping

from dispatcher.domain.circuit import CircuitState
from dispatcher.domain.paths import Path
from dispatcher.ports.circuits import PathView

_KEY = "key_id, team_id and key_pem are not of one live key of one team"
#: By path and the vendor's word: what is at fault.
MEANINGS: Mapping[Path, Mapping[str, str]] = {
    # https://developer.apple.com/documentation/usernotifications/handling-notification-responses-from-apns
    Path.APNS: {
        "InvalidProviderToken": f"Apple does not know the key: {_KEY}",
        "UnrelatedKeyIdInToken": "Apple: the key is of another team or for other topics",
        "BadEnvironmentKeyIdInToken": "Apple: the key is for the other environment only",
        "BadCertificate": "Apple does not take the certificate",
        "BadCertificateEnvironment": "Apple: the certificate is for the other environment",
        "Forbidden": "Apple refuses the key or certificate",
        "TopicDisallowed": "Apple: this key or certificate may not push to the topic; is it of another app or team?",
        "DeviceTokenNotForTopic": "Apple: the tokens belong to another topic than the credentials",
    },
    # https://firebase.google.com/docs/cloud-messaging/error-codes
    Path.FCM: {
        "SENDER_ID_MISMATCH": "Google: the tokens belong to another project's sender than the service account",
        "status_403": "Google: the service account may not send for its project_id, or the FCM API is off there",
        "status_404": "Google does not know the project_id",
        "THIRD_PARTY_AUTH_ERROR": "Google: the APNs key in the Firebase project is missing or wrong",
        "invalid_grant": "Google does not know the service account's key: it was deleted, or is of another account",
        "unauthorized_client": "Google: the service account may not ask for access",
    },
    # https://www.twilio.com/docs/api/errors
    Path.SMS: {
        "20003": "Twilio does not take account_sid and auth_token together",
        "20005": "Twilio: the account is not active",
        "20404": "Twilio does not know the account_sid",
        "21212": "Twilio: from_number is no number to send from",
        "21603": "Twilio: there is no number to send from",
        "21606": "Twilio: from_number belongs to another account, or sends no texts",
        "21701": "Twilio does not know the messaging_service_sid: it is of another account",
        "21703": "Twilio: the Messaging Service has no senders",
        "30002": "Twilio: the account is suspended",
        "30034": "Twilio: from_number is not registered for this traffic",
    },
}


def verdict_of(path: Path, view: PathView) -> str | None:
    """Why the vendor refuses what is sent with these credentials; None where it does not, or nothing is known.

    An open circuit speaks by itself; a word about tokens only where nothing was handed over in all of the window.
    """
    meanings = MEANINGS.get(path, {})
    if view.state is not CircuitState.CLOSED and not view.paused and view.reason is not None:
        meaning = _meaning(meanings, view.reason)
        if meaning is not None:
            return f"{meaning} ({view.reason})"
    if any(outcome == "handed_over" and count for (outcome, _), count in view.answers.items()):
        return None
    said = [(count, reason) for (_, reason), count in view.answers.items() if _meaning(meanings, reason)]
    if not said:
        return None
    count, reason = max(said)
    return f"{_meaning(meanings, reason)} ({reason}, {count} times in the last minutes, and nothing was taken)"


def _meaning(meanings: Mapping[str, str], reason: str) -> str | None:
    """Reasons may stand behind a prefix, as in ``twilio_21606``."""
    return meanings.get(reason.removeprefix("oauth_").removeprefix("twilio_"))
