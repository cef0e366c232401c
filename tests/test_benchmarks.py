"""The benchmarks run, at sizes that measure nothing."""

import math

import numpy as np
import torch

from tests.benchmarks import cases, compare, device, engines, growth, refilling, step_costs


def test_every_row_of_the_device_table_is_measured_or_said_to_be_missing(monkeypatch):
    monkeypatch.setattr(device, "REPEATS", 1)
    rows = list(device.measurements(torch.device("cpu"), share=0.002))
    assert len(rows) == len({row.what for row in rows}) > 15
    missing = [row.what for row in rows if math.isnan(row.value)]
    kernels = [what for what in missing if "students of width" in what or "own " in what]
    rest = [what for what in missing if what not in kernels]
    assert len(kernels) == 38 and rest == [
        "products in TF32",
        "graph of 20 calls with nothing to do",
    ]
    assert all(row.value > 0 for row in rows if row.what not in missing)


def test_points_of_the_growth_curves_differ_in_one_thing():
    base = growth.Point().predicted()
    assert growth.Point(students=512).predicted() > 1.9 * base * 0.95
    assert growth.Point(shared=1).predicted() > base > growth.Point(batch=32).predicted()
    assert len(growth.Point(students=64, shared=16).trials(5)) == 64


def test_a_comparison_gates_times_and_prints_every_engine_at_any_size(capsys, monkeypatch):
    def here(place, engine, steps, precision="float32"):
        return engines.run(engine, place.trials(steps, precision), place.device) | dict(rate=1.0)

    monkeypatch.setattr(compare.Place, "run", here)
    small = compare.Place("gpu_medium", "cpu", students=2)
    assert cases.flops(small.trials(3, "float32")) == 2 * 2 * 128 * (3 * 31000 - 20000)
    compare.compare(small, ["tsframe", "tsframe fast"], repeats=1, steps=3)
    shown = capsys.readouterr().out
    assert "2 students, 3 steps on cpu" in shown and "VOID" not in shown
    assert [line.split("  ")[1] for line in shown.splitlines()[-2:]] == ["tsframe", "tsframe fast"]


def test_a_loop_on_a_gpu_trains_some_and_its_time_is_scaled_up(monkeypatch):
    trained = []

    def train(trials, device):
        trained.append((len(trials), device))
        return [0.0] * len(trials), [0.0] * len(trials)

    ran = engines.ENGINES | {"a loop": (lambda device: "old", train), "all": (lambda _: "", train)}
    monkeypatch.setattr(engines, "ENGINES", ran)
    monkeypatch.setattr(engines, "memory", lambda engine, device: [])
    trials = compare.Place("gpu_medium", "cuda", students=16).trials(3, "float32")
    assert engines.run("a loop", trials, "cuda")["note"] == "old, scaled up from 8 students"
    engines.run("all", trials, "cuda"), engines.run("a loop", trials, "cpu")
    assert trained == [(8, "cuda"), (16, "cuda"), (16, "cpu")]


def test_the_constants_of_the_cost_model_are_found_again():
    truth = np.array([1e-4, 5e-5, 8e-10, 1.4e-9, 6e-12])
    seconds = [float(np.dot(step_costs.parts(point), truth)) for point in step_costs.STACKS]
    found, ratios = step_costs.fit(step_costs.STACKS, seconds)
    np.testing.assert_allclose(found, truth, rtol=1e-3)
    np.testing.assert_allclose(ratios, 1.0, rtol=1e-4)
    point = step_costs.stack(5, 1, batch=16, dim=10, sets=1, each=2)
    assert step_costs.step_seconds(point) > 0.0


def test_a_simulated_thread_takes_as_long_as_the_definition_says():
    alike = np.full((32, 16), 100)  # nobody stops before others: two stacks, whatever is done
    full = refilling.one_table([16] * 16)
    for tables, refill in ((False, False), (False, True), (True, False), (True, True)):
        assert math.isclose(refilling.seconds(alike, tables, refill), 2 * 100 * full)
    ragged = np.full((2, 16), 50)
    ragged[0, 0] = 100
    both = 50 * refilling.one_table([16, 16]) + 50 * refilling.one_table([1])
    assert math.isclose(refilling.seconds(ragged, False, False), both)
    apart = refilling.one_table([16] * 8) + refilling.one_table([1] * 8)
    assert math.isclose(refilling.best_tables([16, 1] * 8), apart)
