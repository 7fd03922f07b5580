"""What can go wrong in a way the user can mend: the message is the sentence they read."""


class ConcentricError(Exception):
    """A problem the user can mend. `str(error)` is one clear sentence, fit to show as it is."""


class UnreadableField(ConcentricError):
    """The file is not a field we can read (damaged, grey, too large, not an image)."""


class MissingScale(ConcentricError):
    """The µm/px of a field is needed and not known, or not plausible for microscopy."""


class UnusableModel(ConcentricError):
    """Weights or model card are missing, damaged, or do not belong together."""


class UnusableData(ConcentricError):
    """Annotations or detections that cannot be used as they are (missing column, no mitosis...)."""


class ClusterUnusable(ConcentricError):
    """A Dask cluster that cannot be reached, has no workers, or has workers that would not give the same answer."""
