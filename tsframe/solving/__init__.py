"""Students solved exactly, in float64, with what the conditioning of their data allows."""
