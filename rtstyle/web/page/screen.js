// Frames and paintings to the picture on the canvas, in WebGL 2: shrink, enlarge, look.
//
// A painting is smaller than its frame. As in rtstyle.paint.upscale it is moved onto the photograph's contours and gets
// back the frame's fine light and dark where it shows the photograph (He and Sun 2015, "Fast Guided Filter").

const CORNERS = `#version 300 es
out vec2 at;  // 0, 0 is the picture's left upper corner
uniform bool shown;
void main() {
  vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1);
  at = shown ? vec2(corner.x, 1.0 - corner.y) : corner;
  gl_Position = vec4(2.0 * corner - 1.0, 0.0, 1.0);
}`;

const HEAD = `#version 300 es
precision highp float;
in vec2 at;
out vec4 result;
const vec3 LIGHT = vec3(0.299, 0.587, 0.114);
`;

const SHRINK = `${HEAD}
uniform sampler2D frame;
uniform vec2 pixel;  // of the small picture
void main() {
  vec3 sum = vec3(0.0);
  for (int y = 0; y < 4; y++) for (int x = 0; x < 4; x++) sum += texture(frame, at + pixel * ((vec2(x, y) + 0.5) / 4.0 - 0.5)).rgb;
  result = vec4(sum / 16.0, 1.0);
}`;

// Luminance painted = slope x luminance photographed + offset, in windows of 3 x 3 at half the size. Gives the painting,
// moved towards that where the photograph explains it, and in alpha the gain of detail.
const FOLLOW = `${HEAD}
uniform sampler2D small, painted;
uniform vec2 pixel;
const float FLAT = 50.0, SHARE = 0.75, DETAIL = 0.6, TELLING = 1000.0;
void main() {
  float p = 0.0, s = 0.0, ps = 0.0, pp = 0.0, ss = 0.0;
  for (int y = -1; y <= 1; y++) for (int x = -1; x <= 1; x++) {
    vec2 q = at + pixel * (2.0 * vec2(x, y) + 0.5);
    float a = 255.0 * dot(texture(painted, q).rgb, LIGHT), b = 255.0 * dot(texture(small, q).rgb, LIGHT);
    p += a / 9.0; s += b / 9.0; ps += a * b / 9.0; pp += a * a / 9.0; ss += b * b / 9.0;
  }
  float covariance = ps - p * s, varianceP = pp - p * p, varianceS = ss - s * s;
  float slope = covariance / (varianceS + FLAT);
  float explained = clamp(slope * max(covariance, 0.0) / (varianceP + FLAT), 0.0, 1.0);
  vec3 color = texture(painted, at).rgb;
  float fit = slope * dot(texture(small, at).rgb, LIGHT) + (p - slope * s) / 255.0;
  color += SHARE * explained * (fit - dot(color, LIGHT));
  result = vec4(color, (covariance + DETAIL * TELLING) / (varianceS + TELLING));
}`;

const SHOW = `${HEAD}
uniform sampler2D frame, small, moved;
uniform vec2 size;  // of the small picture
uniform float strength, split, line, mirror, keepColor, enlarged;
const float CORE = 3.0 / 255.0;
vec4 cubic(sampler2D picture, vec2 q) {  // Catmull-Rom in five reads: Jimenez 2016, "Filmic SMAA"
  vec2 position = q * size, centre = floor(position - 0.5) + 0.5, f = position - centre;
  vec2 w0 = f * (-0.5 + f * (1.0 - 0.5 * f)), w1 = 1.0 + f * f * (-2.5 + 1.5 * f);
  vec2 w2 = f * (0.5 + f * (2.0 - 1.5 * f)), w3 = f * f * (-0.5 + 0.5 * f), w12 = w1 + w2;
  vec2 p0 = (centre - 1.0) / size, p3 = (centre + 2.0) / size, p12 = (centre + w2 / w12) / size;
  vec4 sum = texture(picture, vec2(p12.x, p0.y)) * w12.x * w0.y + texture(picture, vec2(p0.x, p12.y)) * w0.x * w12.y
    + texture(picture, p12) * w12.x * w12.y + texture(picture, vec2(p3.x, p12.y)) * w3.x * w12.y
    + texture(picture, vec2(p12.x, p3.y)) * w12.x * w3.y;
  return sum / (w12.x * w0.y + w0.x * w12.y + w12.x * w12.y + w3.x * w12.y + w12.x * w3.y);
}
void main() {
  vec2 q = vec2(mirror > 0.5 ? 1.0 - at.x : at.x, at.y);
  vec3 photo = texture(frame, q).rgb;
  vec4 painting = cubic(moved, q);
  float detail = enlarged * (dot(photo, LIGHT) - dot(texture(small, q).rgb, LIGHT));
  detail = sign(detail) * max(abs(detail) - CORE, 0.0);
  vec3 color = clamp(painting.rgb + painting.a * detail, 0.0, 1.0);
  color = mix(color, clamp(photo + dot(color - photo, LIGHT), 0.0, 1.0), keepColor);
  color = mix(photo, color, at.x < split ? 0.0 : strength);
  result = vec4(abs(at.x - split) < line ? vec3(1.0) : color, 1.0);
}`;

const RESTORE_SECONDS = 5; // in which browsers give back a context of WebGL that was lost, if they do
const SHORT_SIDE = 640; // pixels: smaller pictures are enlarged, smoother than browsers do

/** The picture on a canvas, by WebGL 2. Throws where there is none. */
export class Screen {
  constructor(canvas) {
    this.canvas = canvas;
    // In software WebGL takes the processor from the net: a plain canvas is faster then
    this.gl = canvas.getContext("webgl2", { alpha: false, antialias: false, failIfMajorPerformanceCaveat: true });
    if (!this.gl) throw new Error("no WebGL 2 on a GPU");
    let waiting;
    canvas.addEventListener("webglcontextlost", (event) => {
      event.preventDefault();
      waiting = setTimeout(() => this.ongone?.(), 1000 * RESTORE_SECONDS);
    });
    canvas.addEventListener("webglcontextrestored", () => {
      clearTimeout(waiting);
      this.setUp();
      this.onrestored?.();
    });
    this.setUp();
  }

  setUp() {
    this.programs = { shrink: this.program(SHRINK), follow: this.program(FOLLOW), show: this.program(SHOW) };
    this.slots = [0, 1, 2].map(() => ({ frame: this.texture(), small: this.target(), width: 0, height: 0 }));
    this.painted = this.texture();
    this.moved = this.target();
    this.latest = this.taken = null;
  }

  /** Take a frame: an element or a bitmap of this size. */
  take(picture, width, height) {
    const { gl } = this;
    this.taken = this.slots.find((slot) => slot !== this.latest && slot !== this.taken); // that one may be on its way
    Object.assign(this.taken, { width, height });
    gl.bindTexture(gl.TEXTURE_2D, this.taken.frame);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE, picture);
  }

  /** The frame that was taken last at another size: {slot, pixels: RGBA in a buffer, width, height}. */
  shrink(width, height) {
    const { gl } = this;
    const slot = this.taken;
    this.resize(slot.small, width, height);
    this.draw("shrink", slot.small, { frame: slot.frame, pixel: [1 / width, 1 / height] });
    const pixels = new Uint8Array(4 * width * height);
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
    return { slot, pixels: pixels.buffer, width, height };
  }

  /** Show a painting, RGB in a buffer, of what `shrink` gave. */
  show({ slot, width, height }, painted, look) {
    const { gl } = this;
    gl.bindTexture(gl.TEXTURE_2D, this.painted);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB8, width, height, 0, gl.RGB, gl.UNSIGNED_BYTE, new Uint8Array(painted));
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 4);
    this.resize(this.moved, width, height);
    this.draw("follow", this.moved, { small: slot.small.texture, painted: this.painted, pixel: [1 / width, 1 / height] });
    this.latest = slot;
    this.redraw(look);
  }

  /** Show the latest painting in another look: {strength, keepColor, mirror, split: null or 0 to 1}. */
  redraw({ strength, keepColor, mirror, split }) {
    const { canvas, latest, moved } = this;
    if (!latest) return;
    const scale = Math.max(1, SHORT_SIDE / Math.min(latest.width, latest.height));
    const [width, height] = [latest.width, latest.height].map((side) => Math.round(scale * side));
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    this.draw("show", null, {
      ...{ frame: latest.frame, small: latest.small.texture, moved: moved.texture, size: [moved.width, moved.height] },
      ...{ strength, keepColor, mirror, split: split ?? -1, line: 1 / 640, enlarged: moved.height < latest.height },
    });
  }

  /** Show the frame that was taken last as it is. */
  showFrame(look) {
    this.latest = this.taken;
    this.redraw({ ...look, strength: 0, split: null });
  }

  // -- WebGL

  program(fragment) {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, CORNERS], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) throw new Error(gl.getProgramInfoLog(program));
    const uniforms = {};
    for (let i = 0; i < gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS); i++) {
      const { name, type } = gl.getActiveUniform(program, i);
      uniforms[name] = { type, at: gl.getUniformLocation(program, name) };
    }
    return { program, uniforms };
  }

  texture() {
    const { gl } = this;
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, side, gl.CLAMP_TO_EDGE);
    for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, filter, gl.LINEAR);
    return texture;
  }

  /** A texture that can be drawn into. */
  target() {
    const texture = this.texture();
    return { texture, buffer: this.gl.createFramebuffer(), width: 0, height: 0 };
  }

  resize(target, width, height) {
    if (target.width === width && target.height === height) return;
    const { gl } = this;
    Object.assign(target, { width, height });
    gl.bindTexture(gl.TEXTURE_2D, target.texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, width, height, 0, gl.RGBA, gl.UNSIGNED_BYTE, null);
    gl.bindFramebuffer(gl.FRAMEBUFFER, target.buffer);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, target.texture, 0);
  }

  /** Run a program over a target, or the canvas; what it left bound is read from next. */
  draw(name, target, values) {
    const { gl, canvas } = this;
    const { program, uniforms } = this.programs[name];
    gl.bindFramebuffer(gl.FRAMEBUFFER, target?.buffer ?? null);
    gl.viewport(0, 0, target?.width ?? canvas.width, target?.height ?? canvas.height);
    gl.useProgram(program);
    let unit = 0;
    for (const [uniform, { type, at }] of Object.entries(uniforms)) {
      const value = uniform === "shown" ? !target : values[uniform];
      if (type === gl.SAMPLER_2D) {
        gl.activeTexture(gl.TEXTURE0 + unit);
        gl.bindTexture(gl.TEXTURE_2D, value);
        gl.uniform1i(at, unit++);
      } else if (type === gl.FLOAT_VEC2) gl.uniform2fv(at, value);
      else if (type === gl.BOOL) gl.uniform1i(at, value);
      else gl.uniform1f(at, Number(value));
    }
    gl.activeTexture(gl.TEXTURE0);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
  }
}
