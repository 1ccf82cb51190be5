"""The rule `phone`: a number within its country's numbering plan, as the library phonenumbers checks it.

Numbers are international (`+49 30 901820`, with any punctuation), or national if the task's `phoneRegion` names the
country of numbers without +. Prefixes and lengths of the plan are checked (`is_valid_number`), not whether the number
is in use.
"""

import re
from functools import cache

import phonenumbers
from phonenumbers import NumberParseException, PhoneMetadata, PhoneNumber

from taskplane.units.data_processing.rules.registry import Check, RuleOptions, adjustable_rule

_REASONS = {
    NumberParseException.INVALID_COUNTRY_CODE: "does not begin with + and a known country code",
    NumberParseException.NOT_A_NUMBER: "is not a phone number",
    NumberParseException.TOO_SHORT_AFTER_IDD: "is too short",
    NumberParseException.TOO_SHORT_NSN: "is too short",
    NumberParseException.TOO_LONG: "is too long",
}
_PLAIN = re.compile(r"\+[1-9](?:[ ().-]*[0-9]){6,14}")
_PUNCTUATION = str.maketrans("", "", "+ ().-")


@adjustable_rule("phone")
def phone(options: RuleOptions) -> Check:
    """Return the check: national numbers belong to `options.phone_region`, and are refused if that is None."""

    def check(value: str) -> str | None:
        if _PLAIN.fullmatch(value) and _is_valid_plain(value):
            return None
        return _fault(value, options.phone_region)

    return check


def _is_valid_plain(value: str) -> bool:
    # parse() takes twice as long as is_valid_number(). For +, a country code and digits without a national prefix,
    # parse() only separates the two. False means that the library must examine the value.
    digits = value.translate(_PUNCTUATION)
    for length in (1, 2, 3):
        prefix = _national_prefix(digits[:length])
        if prefix:
            code, national = digits[:length], digits[length:]
            number = PhoneNumber(country_code=int(code), national_number=int(national))
            return not prefix.match(national) and phonenumbers.is_valid_number(number)
    return False


@cache  # by country code: at most a thousand entries
def _national_prefix(code: str) -> re.Pattern[str] | None:
    """Return a pattern of a country's national prefixes and of 0, which int() would lose; None without such a code."""
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(code))
    if regions is None:
        return None
    metadata = PhoneMetadata.metadata_for_region_or_calling_code(int(code), regions[0])
    return re.compile(f"0|{metadata.national_prefix_for_parsing or 0}" if metadata else "")


def _fault(value: str, region: str | None) -> str | None:
    if not value:
        return "is empty"
    try:
        number = phonenumbers.parse(value, region)
    except NumberParseException as error:
        return _REASONS[error.error_type]
    if not phonenumbers.is_valid_number(number):
        return f"is not in the numbering plan of +{number.country_code}"
    return None
