// Where frames come from: the camera, a video file or a picture.

const MAX_SIDE = 1920; // pixels: larger pictures are shrunk first

/** A camera or a video. `onframe` is called when a frame is there, which is in `element` then. */
class Moving {
  constructor(video, kind, stop) {
    Object.assign(this, { element: video, kind, stop, count: 0, seen: 0, moving: true });
    const arrived = () => {
      if (this.closed) return;
      this.count++;
      this.onframe?.();
      wait();
    };
    const wait = () => (video.requestVideoFrameCallback ? video.requestVideoFrameCallback(arrived) : requestAnimationFrame(arrived));
    wait();
  }

  get width() {
    return this.element.videoWidth;
  }

  get height() {
    return this.element.videoHeight;
  }

  get hasNew() {
    return this.count > this.seen;
  }

  /** The newest frame was taken. Returns how many were passed over. */
  take() {
    const passed = this.count - this.seen - 1;
    this.seen = this.count;
    return Math.max(0, passed);
  }

  close() {
    this.closed = true;
    this.stop();
  }
}

/** A picture: one frame, again and again. */
class Still {
  constructor(bitmap) {
    Object.assign(this, { element: bitmap, kind: "picture", width: bitmap.width, height: bitmap.height, moving: false });
  }

  take() {
    return 0;
  }

  close() {
    this.element.close();
  }
}

/** Open a camera: {deviceId} or {facing: "user" or "environment"}. `onend` is called when it goes away. Throws an Error
 * with a sentence. */
export async function openCamera({ deviceId, facing = "user" } = {}, onend = () => {}) {
  if (!navigator.mediaDevices?.getUserMedia) throw new Error("There is no camera here: browsers give it to https pages and to localhost only.");
  const which = deviceId ? { deviceId: { exact: deviceId } } : { facingMode: facing };
  const size = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { ...which, ...size }, audio: false });
  } catch (error) {
    throw new Error(REFUSALS[error.name] ?? `The camera cannot be opened (${error.message || error.name}).`);
  }
  const [track] = stream.getVideoTracks();
  track.addEventListener("ended", onend);
  const stop = () => {
    track.removeEventListener("ended", onend);
    for (const each of stream.getTracks()) each.stop();
  };
  const video = element();
  video.srcObject = stream;
  await video.play().catch((error) => {
    stop();
    throw new Error(`The camera gives no picture (${error.message || error.name}): press Camera again.`);
  });
  const source = new Moving(video, "camera", stop);
  const settings = track.getSettings();
  return Object.assign(source, { deviceId: settings.deviceId, facing: settings.facingMode ?? "user", rate: settings.frameRate });
}

const REFUSALS = {
  NotAllowedError: "The camera was refused: allow it in the address bar, then press Camera again. A picture or a video can be dropped here too.",
  NotFoundError: "No camera was found: connect one, or drop a picture or a video here.",
  OverconstrainedError: "That camera is not there any more: choose another one.",
  NotReadableError: "The camera is in use by another program: close it there, then press Camera again.",
};

function element() {
  return Object.assign(document.createElement("video"), { muted: true, playsInline: true, loop: true });
}

/** Open a file: a picture or a video. Throws an Error with a sentence for what is neither. */
export async function openFile(file) {
  const isVideo = file.type.startsWith("video/"); // to look for a picture in it would read it whole
  const picture = isVideo ? null : await readPicture(file, MAX_SIDE).catch(() => null);
  if (picture) return new Still(picture);
  const url = URL.createObjectURL(file);
  const video = element();
  const close = () => {
    video.pause();
    video.removeAttribute("src");
    video.load();
    URL.revokeObjectURL(url);
  };
  try {
    video.src = url;
    await video.play();
    if (!video.videoWidth) throw new Error("no picture");
    return new Moving(video, "video", close);
  } catch {
    close();
    throw new Error(`${file.name || "The file"} is no picture or video that this browser can show.`);
  }
}

/** A picture from a file or a response, as a bitmap with a long side of `side` pixels at most. Throws for what is none. */
export async function readPicture(blob, side) {
  const bitmap = await createImageBitmap(blob);
  const scale = side / Math.max(bitmap.width, bitmap.height);
  if (scale >= 1) return bitmap;
  const [resizeWidth, resizeHeight] = [bitmap.width, bitmap.height].map((length) => Math.max(1, Math.round(length * scale)));
  const smaller = await createImageBitmap(bitmap, { resizeWidth, resizeHeight, resizeQuality: "high" });
  bitmap.close();
  return smaller;
}

/** The cameras, [{deviceId, label}]; without labels until one was opened. */
export async function listCameras() {
  const devices = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
  return devices.filter(({ kind }) => kind === "videoinput");
}
