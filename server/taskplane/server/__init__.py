"""The taskplane server: gRPC and REST APIs over services, the state manager and the store."""
