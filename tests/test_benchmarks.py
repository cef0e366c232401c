"""The benchmarks run, at sizes that measure nothing."""

import math

import torch

from tests.benchmarks import device, growth


def test_every_row_of_the_device_table_is_measured_or_said_to_be_missing(monkeypatch):
    monkeypatch.setattr(device, "REPEATS", 1)
    rows = list(device.measurements(torch.device("cpu"), share=0.002))
    assert len(rows) == len({row.what for row in rows}) > 15
    missing = [row.what for row in rows if math.isnan(row.value)]
    assert missing == ["products in TF32", "graph of 20 calls with nothing to do"]
    assert all(row.value > 0 for row in rows if row.what not in missing)


def test_points_of_the_growth_curves_differ_in_one_thing():
    base = growth.Point().predicted()
    assert growth.Point(students=512).predicted() > 1.9 * base * 0.95
    assert growth.Point(shared=1).predicted() > base > growth.Point(batch=32).predicted()
    assert len(growth.Point(students=64, shared=16).trials(5)) == 64
