"""What backends on JAX share: how a network is fed, compiled, trained and read, and the arithmetic of layers.

A backend adds modules of its library and a `Network` over them; importing this loads nothing.
"""
