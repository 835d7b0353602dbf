"""What the tests of the live window share; window_fixtures.py has the fixtures."""

from support.media_files import picture
from support.screen import difference, wait_until

HEIGHT, WIDTH, WORK = 288, 480, 96
PHOTOGRAPH = picture(20, HEIGHT, WIDTH)
PLAIN = ["--device", "cpu", "--no-steady", "--work-height", WORK]  # the same painting of the same picture, always
MIDDLE = slice(HEIGHT // 8, -HEIGHT // 8)  # rows that neither messages nor the red REC cover
ABOVE = slice(0, -HEIGHT // 8)  # rows that no message covers
BELOW = slice(HEIGHT // 4, None)  # rows that the display does not cover


def wait_for_movement(app, rows=BELOW):
    before = app.look()[rows]
    wait_until(lambda: difference(app.look()[rows], before) > 30, "the picture moves")
