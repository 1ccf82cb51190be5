"""How a unit is spoken to. `stream` is the gRPC stream; units that speak HTTP get a link of the same shape."""
