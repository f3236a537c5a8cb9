"""Motion and time series for flowloom: data, backbones, judges, baselines and recipes."""
