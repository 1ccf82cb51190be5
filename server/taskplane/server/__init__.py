"""The taskplane server: gRPC faces over services over the state manager over the store."""
