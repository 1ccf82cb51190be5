"""Validation rules by name.

To add a rule, write a module like `email.py` and import it below. Outside of taskplane, decorate a function with
`@rule(name)` before the unit runs.
"""

from taskplane.units.data_processing.rules import email, phone
from taskplane.units.data_processing.rules.registry import Check, RuleOptions, known_rules, make_check, rule

__all__ = ["Check", "RuleOptions", "email", "known_rules", "make_check", "phone", "rule"]
