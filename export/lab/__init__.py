"""`rtstyle lab`: the experiments of the five source documents."""
