"""The weights are there, finite, trained, of this step and of this model; not one rank's slice."""
