"""Rendered people with photos to enrol, and videos in which they and strangers walk."""

import numpy as np

from pipeline.synthetic.layouts import Job, Layout, portrait
from pipeline.synthetic.walks import WalkVideo, plan_walks

_PEOPLE = 11_000_000
_PLAN_STREAM = 5
_PEOPLE_OF_A_VIDEO = 4


def video(identities: int, photos: int, seed: int) -> Layout:
    """Video: gallery/PERSON/PHOTO.jpg, and walks/NAME.avi with the truth NAME.csv beside it.

    Each third person is a stranger, who walks and has no photo in the gallery.
    """
    people = [
        (f"{'stranger' if number % 3 == 2 else 'person'}_{number:04d}", _PEOPLE + number)
        for number in range(identities)
    ]
    jobs = []
    for name, person in people:
        for photo in range(0 if name.startswith("stranger") else photos):
            rng = np.random.default_rng(np.random.SeedSequence((seed, _PLAN_STREAM, person, photo)))
            shot = portrait(rng, 300, 380)
            jobs.append(Job(f"Video/gallery/{name}/{photo + 1:02d}.jpg", person, photo, shot, 90))
    count = -(-identities // _PEOPLE_OF_A_VIDEO)
    videos = tuple(
        WalkVideo(f"Video/walks/walk_{number:03d}.avi", walks, number)
        for number, walks in enumerate(plan_walks(count, people, seed))
    )
    return Layout(jobs, videos=videos)
