// Recordings and snapshots, as files that the browser saves.

// VP9 would be better than VP8, but takes the processor's time from the net
const KINDS = ["video/mp4;codecs=avc1.640028,mp4a.40.2", "video/webm;codecs=vp8,opus", "video/webm", "video/mp4"];
const BITS = 8e6; // a second

export class Recorder {
  constructor(canvas) {
    this.canvas = canvas;
    this.recorder = null;
    this.starting = false; // while the browser asks for the microphone
  }

  static get possible() {
    return Boolean(window.MediaRecorder && HTMLCanvasElement.prototype.captureStream);
  }

  get seconds() {
    return this.recorder ? (performance.now() - this.began) / 1000 : null;
  }

  /** Record the canvas, with the microphone if `microphone`, or with the sound of a video element. Returns a sentence
   * where there is no sound though it was asked for. When the recording has ended, by `stop` or by itself, it is saved, and
   * `saved` gives the file's name, or an Error with a sentence if nothing was recorded. */
  async start(name, { microphone, video }) {
    this.starting = true;
    const { tracks, trouble } = await sound(microphone, video).finally(() => (this.starting = false));
    const stream = new MediaStream([...this.canvas.captureStream(30).getVideoTracks(), ...tracks]);
    const mimeType = KINDS.find((kind) => MediaRecorder.isTypeSupported(kind));
    const release = () => stream.getTracks().forEach((track) => track.stop());
    let recorder;
    try {
      recorder = new MediaRecorder(stream, { mimeType, videoBitsPerSecond: BITS });
      recorder.start(1000);
    } catch (error) {
      release();
      throw error;
    }
    this.recorder = recorder;
    this.began = performance.now();
    const parts = [];
    recorder.ondataavailable = ({ data }) => parts.push(data);
    this.saved = new Promise((resolve, reject) => {
      recorder.onstop = () => {
        release();
        const type = recorder.mimeType.split(";")[0];
        this.recorder = null;
        const blob = new Blob(parts, { type });
        if (blob.size) resolve(save(blob, `${name}.${type.split("/")[1]}`));
        else reject(new Error("Nothing was recorded: the browser had no time for the first frame yet."));
      };
    });
    return trouble;
  }

  /** End the recording; returns whether there was one to end. */
  stop() {
    const running = this.recorder?.state === "recording";
    if (running) this.recorder.stop();
    return running;
  }
}

async function sound(microphone, video) {
  const capture = video?.captureStream ?? video?.mozCaptureStream;
  if (capture) {
    const stream = capture.call(video);
    for (const track of stream.getVideoTracks()) track.stop(); // it would copy every frame
    return { tracks: stream.getAudioTracks() };
  }
  if (video) return { tracks: [], trouble: "Recording without sound: this browser does not give a video's sound." };
  if (!microphone) return { tracks: [] };
  try {
    return { tracks: (await navigator.mediaDevices.getUserMedia({ audio: true })).getAudioTracks() };
  } catch (error) {
    const reason = error.name === "NotFoundError" ? "no microphone was found" : "the microphone was refused";
    return { tracks: [], trouble: `Recording without sound: ${reason}.` };
  }
}

/** Let the browser save a blob; returns the name. */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return name;
}

/** rtstyle-starry-night-2026-11-26-142305 */
export function fileName(style, now = new Date()) {
  const local = new Date(now - now.getTimezoneOffset() * 60_000).toISOString();
  return `rtstyle-${style}-${local.slice(0, 19).replace("T", "-").replaceAll(":", "")}`;
}
