"""A camera loop of one's own: the style drifts through the whole gallery while the camera runs.

python examples/camera.py                                        # the first camera, in a window; q ends
python examples/camera.py pretrained/sample.mp4 --save drift.mp4  # a file instead, into a file instead
"""

import argparse

import cv2

import rtstyle

FRAMES_PER_STYLE = 90  # from one style to the next

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("source", nargs="?", default="0", help="a camera's number, a stream's address or a file")
parser.add_argument("--save", metavar="FILE", help="write a video instead of opening a window")
parser.add_argument("--work-height", type=int, default=240, help="pixels: less is faster, with larger strokes")
arguments = parser.parse_args()

source = int(arguments.source) if arguments.source.isdecimal() else arguments.source
capture = cv2.VideoCapture(source)
if not capture.isOpened():
    parser.error(f"{arguments.source} cannot be opened")
capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # a frame that waited in a queue is late on the screen

# The net runs at the working height; the painting comes back at the frame's own size, with the frame's detail.
stylizer = rtstyle.Stylizer(work_height=arguments.work_height)
codes = [style.code for style in stylizer.gallery()]

writer = None
count = 0
while True:
    there, bgr = capture.read()
    if not there:  # the end of a file; a camera that was unplugged
        break
    turn, step = divmod(count, FRAMES_PER_STYLE)
    share = step / FRAMES_PER_STYLE
    code = (1 - share) * codes[turn % len(codes)] + share * codes[(turn + 1) % len(codes)]

    painted = stylizer(bgr[..., ::-1], code)  # OpenCV has blue first, rtstyle red

    count += 1
    if not arguments.save:
        cv2.imshow("drift", painted[..., ::-1])
        if cv2.waitKey(1) == ord("q"):
            break
        continue
    if writer is None:
        rate = capture.get(cv2.CAP_PROP_FPS) or 30
        height, width = painted.shape[:2]
        writer = cv2.VideoWriter(arguments.save, cv2.VideoWriter.fourcc(*"mp4v"), rate, (width, height))
    writer.write(painted[..., ::-1])

capture.release()
if writer is not None:
    writer.release()
print(f"{count} frames painted")
