"""SMS: what every carrier shares, and one folder a carrier."""

from providers.sms.segments import Encoding, Size, cut, measure
from providers.sms.status import BadSignature, CarrierStatus, NumberVerdict
from providers.sms.twilio.callbacks import callback_url, parse_callback
from providers.sms.twilio.errors import number_verdict

__all__ = [
    "BadSignature",
    "CarrierStatus",
    "Encoding",
    "NumberVerdict",
    "Size",
    "callback_url",
    "cut",
    "measure",
    "number_verdict",
    "parse_callback",
]
