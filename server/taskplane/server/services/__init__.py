"""What the faces call: one method a verb, for tasks; lists and watches; units for operators."""
