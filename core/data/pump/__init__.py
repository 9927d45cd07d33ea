"""A synthetic pump: twelve channels whose normal behaviour is a known linear Gaussian model, and faults with the truth.

Begin with `file`, which writes it; `machine` is the model, `load` the operators, `faults` the anomalies, `oracle` the
best score that is possible.
"""
