"""Equinox as a backend of Tandem: `UNet(spec, key=key)` is an ordinary equinox.Module."""
