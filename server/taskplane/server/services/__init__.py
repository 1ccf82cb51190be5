"""The services behind the APIs: a method for each verb, on one task or many; lists, watches and statistics."""
