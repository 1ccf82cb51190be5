"""The rules agree with the libraries."""

import phonenumbers
import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import example, given
from hypothesis import strategies as st

from taskplane.units.data_processing.rules import RuleOptions, known_rules, make_check, rule

email = make_check("email", RuleOptions())
phone = make_check("phone", RuleOptions())


def is_email_to_the_library(value: str) -> bool:
    try:
        validate_email(value, check_deliverability=False)
    except EmailNotValidError:
        return False
    return True


def is_phone_to_the_library(value: str, region: str | None = None) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(value, region))
    except phonenumbers.NumberParseException:
        return False


LOCAL = st.text(st.sampled_from("ab1.+-_'\"\\ @é<>xn"), max_size=12) | st.text(max_size=5)
LABEL = st.text(st.sampled_from("ab1-_éß王"), max_size=6) | st.sampled_from(
    ["xn--4dbc", "XN--4DBC", "x" * 63, "y" * 64]
)
TOP = st.sampled_from(["com", "de", "test", "local", "invalid", "localhost", "c0m", "123", "王", ""])
DOMAIN = st.lists(LABEL | TOP, min_size=1, max_size=6).map(".".join)
EMAIL = st.builds("{}@{}".format, LOCAL, DOMAIN)


@given(EMAIL | st.emails() | st.text())
@example("a" * 242 + "@example.com")
@example("a" * 243 + "@example.com")
@example("a@EXAMPLE.com")
@example("a@example.com\n")
@example("a" * 230 + "@xn--bcher-kva.example")
def test_email_is_what_the_library_says(value: str) -> None:
    assert (email(value) is None) == is_email_to_the_library(value)
    # Once more, with a known domain.
    assert (email(value) is None) == is_email_to_the_library(value)


@given(st.lists(LOCAL, min_size=2, max_size=5), DOMAIN)
def test_a_domain_that_is_known_changes_no_verdict(local_parts: list[str], domain: str) -> None:
    for local in local_parts:
        value = f"{local}@{domain}"
        assert (email(value) is None) == is_email_to_the_library(value)


def example_numbers() -> list[str]:
    """Return the library's examples for every region and type of number, in international form."""
    kinds = phonenumbers.PhoneNumberType.values()
    numbers = [
        phonenumbers.example_number_for_type(region, kind)
        for region in sorted(phonenumbers.SUPPORTED_REGIONS)
        for kind in kinds
    ] + [
        phonenumbers.example_number_for_non_geo_entity(code)
        for code in sorted(phonenumbers.COUNTRY_CODES_FOR_NON_GEO_REGIONS)
    ]
    formats = (phonenumbers.PhoneNumberFormat.INTERNATIONAL, phonenumbers.PhoneNumberFormat.E164)
    return [phonenumbers.format_number(number, style) for number in numbers if number for style in formats]


def test_phone_is_what_the_library_says_of_every_kind_of_number() -> None:
    numbers = example_numbers()
    assert len(numbers) > 2000
    # With a national prefix in the middle, a common mistake, and one digit less or more.
    variants = [v for n in numbers for v in (n, n.replace(" ", " 0", 1), n.replace(" ", " 1", 1), n[:-1], n + "1")]
    assert [v for v in variants if (phone(v) is None) != is_phone_to_the_library(v)] == []


@given(st.sampled_from(example_numbers()), st.data())
def test_phone_is_what_the_library_says_of_numbers_with_other_digits(number: str, data: st.DataObject) -> None:
    digits = list(number)
    for position in data.draw(st.lists(st.integers(1, len(digits) - 1), max_size=4)):
        digits[position] = data.draw(st.sampled_from("0123456789 -().x/#;"))
    value = "".join(digits)
    assert (phone(value) is None) == is_phone_to_the_library(value)


@given(st.text(st.sampled_from("+0123456789 -()./xт٣ab;,#=~"), max_size=18) | st.text())
def test_phone_is_what_the_library_says_of_anything(value: str) -> None:
    assert (phone(value) is None) == is_phone_to_the_library(value)


@given(st.text(st.sampled_from("+01234567890123456789 -()"), max_size=16), st.sampled_from(["CN", "DE", "US", "GG"]))
def test_national_numbers_are_read_as_of_the_region(value: str, region: str) -> None:
    check = make_check("phone", RuleOptions(phone_region=region))
    assert (check(value) is None) == is_phone_to_the_library(value, region)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "is empty"),
        ("call me", "is not a phone number"),
        ("030 901820", "does not begin with + and a known country code"),
        ("+999 123456", "does not begin with + and a known country code"),
        ("+1 555 0100", "is not in the numbering plan of +1"),
        ("+49 1", "is too short"),
        ("+49" + "1" * 20, "is too long"),
    ],
)
def test_the_reason_is_told(value: str, reason: str) -> None:
    assert phone(value) == reason


def test_an_address_that_is_missing_or_bad_gets_a_reason() -> None:
    assert email("") == "is empty"
    assert "@-sign" in (email("nobody") or "")


def test_a_name_is_taken_once() -> None:
    with pytest.raises(ValueError, match="there is a rule 'email' already"):
        rule("email")(lambda _value: None)
    assert known_rules() == ["email", "phone"]
