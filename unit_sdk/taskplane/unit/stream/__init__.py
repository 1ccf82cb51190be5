"""A unit's connection over a gRPC stream."""
