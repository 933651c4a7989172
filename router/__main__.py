"""`python -m router` is `dicom-router`."""

from router.cli import main

if __name__ == "__main__":
    main(prog_name="dicom-router")
