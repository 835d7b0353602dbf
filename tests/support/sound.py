"""Clicks in the sound of files, and flashes in their pictures."""

import av
import numpy as np


def clicks(times, seconds, rate):
    """Mono float32 [N, 1] with a click at each of these seconds."""
    samples = np.zeros((round(seconds * rate), 1), np.float32)
    for at in times:
        samples[round(at * rate) :][:240] = 0.9 * np.sin(np.arange(240) / 3)[:, None][: len(samples) - round(at * rate)]
    return samples


def heard(path):
    """Seconds of the clicks in a file."""
    samples, begin = [], None
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            begin = frame.time if begin is None else begin
            samples.append(np.abs(frame.to_ndarray()).max(axis=0))
    loud = np.flatnonzero(np.concatenate(samples) > 0.3) / frame.sample_rate + begin
    return loud[np.insert(np.diff(loud) > 0.2, 0, True)]


def flashes(path):
    """Seconds at which frames become bright."""
    bright, found = False, []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            now = frame.to_ndarray(format="gray").mean() > 128
            if now and not bright:
                found.append(frame.time)
            bright = now
    return np.array(found)
