"""An async, actor-based DICOM router."""

__version__ = "0.1.0"
