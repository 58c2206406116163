"""Names of a trial's arms, as they stand in run.json."""

BASELINE_ARM = "A"
REPEAT_ARM = "A2"
"""The baseline once more: what its blocks differ by from those of `A` is the noise floor."""
BASELINE_ARMS = (BASELINE_ARM, REPEAT_ARM)
TRIAL_ARM = "B"
