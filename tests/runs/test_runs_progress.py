"""What is shown beside a progress bar."""

from flowloom_registry.runs.progress import progress


def test_rates_are_no_powers_of_ten(capsys):
    with progress("training", 1) as report:
        report(1, {"loss": 0.59331, "examples/s": 129_312.4})
    assert "loss 0.5933  examples/s 129,312" in capsys.readouterr().err
