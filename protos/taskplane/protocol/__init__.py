"""Rules of the protocol that server, unit SDK and client share: JSON documents, errors, connections, backoff.

Only the generated messages of `taskplane.v1`, grpcio and protobuf are imported here. `documents` and `errors` need
none of them.
"""
