"""The methods of calibration, one file each."""
