"""The number of the directory is the step that was trained, and no step is lost or trained twice."""
