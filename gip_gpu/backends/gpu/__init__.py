"""What the two GPU backends share: arrays, layout of the device's memory, the host's side of the loop."""
