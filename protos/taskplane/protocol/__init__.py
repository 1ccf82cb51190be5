"""Rules of the protocol that server, unit SDK and client share: JSON documents, errors, connections, backoff.

The package imports the generated messages of `taskplane.v1`, grpcio and protobuf; `documents` and `errors` import
none of the three.
"""
