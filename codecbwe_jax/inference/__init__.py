"""Running a trained system on waveforms and files."""
