"""Corruptions of a user's own, a file each: the file is the registration.

To add one, write ``methods/soft/corruptions/<kind>.py`` with a dataclass ``Params`` that is a
:class:`methods.soft.recipe.Recipe` (:mod:`methods.soft.corruptions.pixelate` is one of 40 lines). A
suite then takes it by the name of its file, with its parameters beside those of the others:
``corruption: {kind: pixelate, pixelate: {size: 4}, noise: {most: 0.3}}``. Training, start
distribution, samplers, likelihood and figures need nothing more.
"""
