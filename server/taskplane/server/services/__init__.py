"""What the faces call: one method a verb, for one task or many; lists and watches; figures for operators."""
