"""Make a CSV of users for the data processing unit; the same number of rows and seed give the same file.

About one row in fifty is bad: a bad e-mail address, a bad phone number, or a wrong number of fields.
"""

import argparse
import csv
import random
from collections.abc import Iterator
from pathlib import Path

COLUMNS = ["id", "name", "email", "phone", "city", "note"]
BAD_SHARE = 0.02

_FIRST_NAMES = ["Ada", "Björn", "Chloé", "Dmitri", "Emily", "Fatima", "Grace", "José", "李娜", "Noah", "Søren", "Zoë"]
_LAST_NAMES = ["Adams", "García", "Ivanova", "Jansen", "Kowalski", "Müller", "O'Brien", "Okafor", "Sato", "王", "Young"]
_CITIES = ["Berlin", "Lisboa", "London", "New York", "Nürnberg", "São Paulo", "Tōkyō", "Washington, D.C.", "上海"]
_NOTES = [
    "",
    "",
    "",
    "newsletter",
    "likes tea, not coffee",
    'says "hello"',
    "two\nlines",
    "three\r\nlines\nhere",
    "naïve ☕",
]
_DOMAINS = ["gmail.com", "mail.example.com", "example.org", "example.co.uk", "post.example.net", "example.de"]
# With any four digits, these prefixes are numbers of their country's numbering plan.
_PHONES = ["+1 212 555 ", "+49 30 9018 ", "+44 20 7946 ", "+86 138 1234 ", "+33 6 12 34 ", "+81-90-1234-"]
_BAD_EMAILS = ["", "nobody", "two@@example.com", "space in@example.com", "trailing.@example.com", "user@localhost"]
_BAD_PHONES = ["", "none", "12345", "+1 212", "+999 123 456 789", "+49 0"]


def make_users_csv(path: Path, rows: int = 300_000, seed: int = 2024) -> None:
    """Write a header and `rows` users to `path`."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(_users(rows, random.Random(seed)))  # noqa: S311 — reproducible, not secret


def _users(rows: int, rng: random.Random) -> Iterator[list[str]]:
    spoilers = [_spoil_email, _spoil_phone, _drop_fields, _add_fields]
    for number in range(1, rows + 1):
        user = _user(number, rng)
        if rng.random() < BAD_SHARE:
            rng.choice(spoilers)(user, rng)
        yield user


def _user(number: int, rng: random.Random) -> list[str]:
    pick = rng.choice
    return [
        str(number),
        f"{pick(_FIRST_NAMES)} {pick(_LAST_NAMES)}",
        f"user{number}@{pick(_DOMAINS)}",
        f"{pick(_PHONES)}{number % 10_000:04}",
        pick(_CITIES),
        pick(_NOTES),
    ]


def _spoil_email(user: list[str], rng: random.Random) -> None:
    user[2] = rng.choice(_BAD_EMAILS)


def _spoil_phone(user: list[str], rng: random.Random) -> None:
    user[3] = rng.choice(_BAD_PHONES)


def _drop_fields(user: list[str], rng: random.Random) -> None:
    del user[rng.randrange(1, len(user)) :]


def _add_fields(user: list[str], rng: random.Random) -> None:
    user += ["surplus"] * rng.randint(1, 3)


def main() -> None:
    """Parse the command line and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--seed", type=int, default=2024)
    given = parser.parse_args()
    make_users_csv(given.path, given.rows, given.seed)


if __name__ == "__main__":
    main()
