"""From a face in a photo to a decision: enrolment, search, the health of a gallery, calibration."""
