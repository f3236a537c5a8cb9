"""Images for flowloom: data sets, backbones, the unit box, metrics and a renderer."""
