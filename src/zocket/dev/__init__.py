"""The whole platform on this machine: `zocket dev`."""
