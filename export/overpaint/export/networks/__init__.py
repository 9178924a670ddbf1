"""The networks that are traced, one module each: tensors, wrapper, and a reduced form.

A module here counts in the packaged library's `exporter` hash: what does not change a graph lies
elsewhere.
"""
