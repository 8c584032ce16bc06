"""The commands that look: the zoo, one network or two, and what works on this machine."""

from __future__ import annotations

import typer

from . import options, options_of_networks


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("list")(list_)
    app.command()(show)
    app.command()(doctor)


def list_(
    words: options_of_networks.Words = None,
    dimensions: options_of_networks.Dimensions = None,
    norm: options_of_networks.Norm = None,
    max_parameters: options_of_networks.MaxParameters = None,
    min_parameters: options_of_networks.MinParameters = None,
    sort: options_of_networks.Sort = "name",
    sources: options_of_networks.Sources = False,
    json: options.Json = None,
) -> None:
    """The networks of the zoo, and what the backends that are here can do.

    Given TEXT or options, those networks that have all of it.
    """
    from .commands import zoo

    request = zoo.Request(words or (), dimensions, norm, max_parameters, min_parameters, sort, sources)
    raise typer.Exit(zoo.run(request, json))


def show(
    spec: options.Spec,
    other: options_of_networks.Other = None,
    size: options.Size = None,
    narrow: options.Narrow = None,
    batch: options.Batch = None,
    every: options_of_networks.Every = False,
    json: options.Json = None,
) -> None:
    """A network drawn, with its layers, parameters, FLOPs and memory; or what two differ in.

    Nothing is built: all of it follows from the spec.
    """
    if other is not None:
        from .commands import difference

        raise typer.Exit(difference.run((spec, other), size, narrow, batch or 1, every, json))
    from .commands import show

    raise typer.Exit(show.run(spec, size, narrow, batch or 1, json))


def doctor(json: options.Json = None) -> None:
    """What works here: backends, devices, precisions, and what to install for the rest.

    Each backend builds and runs a tiny network in every precision, in a process of its own. Exit code 1 if fewer than
    two backends work.
    """
    from .commands import doctor

    raise typer.Exit(doctor.run(json))
