"""The rule `phone`: a number that its country's numbering plan allows, as the library phonenumbers sees it.

Written internationally (`+49 30 901820`, punctuation is free), or nationally if the task's `phoneRegion` says of
which country numbers without + are. The plan's prefixes and lengths are checked (`is_valid_number`); whether
anybody has that number is not asked.
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
    """Make the check: national numbers are read as of `options.phone_region`, and refused if that is None."""

    def check(value: str) -> str | None:
        if _PLAIN.fullmatch(value) and _is_valid_plain(value):
            return None
        return _fault(value, options.phone_region)

    return check


def _is_valid_plain(value: str) -> bool:
    # parse() takes twice as long as is_valid_number(). For +, a country code and digits that do not begin with a
    # national prefix, all it does is to part the two. False only means that the library has to look at the value.
    digits = value.translate(_PUNCTUATION)
    for length in (1, 2, 3):
        prefix = _national_prefix(digits[:length])
        if prefix:
            code, national = digits[:length], digits[length:]
            number = PhoneNumber(country_code=int(code), national_number=int(national))
            return not prefix.match(national) and phonenumbers.is_valid_number(number)
    return False


@cache  # by digits of a country code: a thousand entries at most
def _national_prefix(code: str) -> re.Pattern[str] | None:
    """Match what may stand before a national number of `code`, or a 0, which int() would lose; None: no such code."""
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
