"""What can go wrong because of a user's input, files or machine.

The command line turns each of these into one line on stderr and exit code 1. A message says what
is wrong, where (file, key, line or index) and what to do about it, in one line.
"""


class PyvqaError(Exception):
    """Base of every error that a user can cause and mend."""


class ConfigError(PyvqaError):
    """A setting is unknown, of the wrong type, out of range or at odds with the run folder."""


class DataError(PyvqaError):
    """A data file is missing, damaged, of the wrong shape, or cannot be written."""


class CheckpointError(PyvqaError):
    """A checkpoint or model folder is damaged or does not belong to this model."""


class ProgramError(PyvqaError):
    """A symbolic program is malformed or names an unknown function."""


class TrainingError(PyvqaError):
    """Training cannot go on: a value is not finite, or a rank of the job is lost."""
