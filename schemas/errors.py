"""What can be wrong with data that claims to follow the contract.

SchemaError
├── RecordError     a design record or a manifest that does not validate
├── ImageError      an image member that is damaged, over a limit or of another size than its record says
├── SampleError     a sample whose members do not fit its record
├── LicenceError    a licence expression or a policy that cannot be read
└── SettingsError   a configuration file or an assignment that cannot be used
"""


class SchemaError(Exception):
    """Base of every error of this package; the message is one line that a user can act on."""


class RecordError(SchemaError):
    """A record or a manifest does not validate; the message names the field."""


class ImageError(SchemaError):
    """An encoded image is damaged, over the pixel limit, or not of the size its record says."""


class SampleError(SchemaError):
    """The members of a sample do not fit its record."""


class LicenceError(SchemaError):
    """A licence expression or a licence policy cannot be read."""


class SettingsError(SchemaError):
    """A configuration file or an assignment of the command line cannot be used; the message names the remedy."""
