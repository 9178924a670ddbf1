// The drawing of a live session: strokes over a ground, which is the sky, the picture, or the camera.

import { $ } from "../dom.js";
import { add, draw, widthOf } from "../mask.js";
import { strokes } from "../strokes.js";

const SIDE = 512; // of the drawing, whatever the model's is: a brush needs pixels
const SKY = "#a9cdea";

/** {draw, take}: how it is drawn from the state, and the frame as it is now, a blob. `changed` hears of both. */
export function sheet(store, changed) {
  const canvas = $("live-canvas");
  const ground = $("live-ground");
  const context = canvas.getContext("2d");
  const under = ground.getContext("2d");
  let drawn = {}; // what is shown: {width, ops, ground, picture}
  let camera = null; // a video, while it is the ground

  const giveUp = strokes(canvas, $("live-ring"), {
    sheet: () => canvas,
    begin: () => {
      const { form, tool, live } = store.state;
      return { kind: tool, colour: live.colour, size: widthOf(form, canvas), points: [] };
    },
    add: (piece) => {
      add(context, piece);
      changed();
    },
    end: (stroke) => store.change({ live: { ...store.state.live, ops: [...store.state.live.ops, stroke] } }),
  });

  /** Cover the ground with an image of any shape. */
  function lay(image, width, height) {
    const scale = Math.max(ground.width / width, ground.height / height);
    const [w, h] = [width * scale, height * scale];
    under.drawImage(image, (ground.width - w) / 2, (ground.height - h) / 2, w, h);
    changed();
  }

  async function begin({ live, picture }) {
    camera?.srcObject.getTracks().forEach((track) => track.stop());
    camera = null;
    under.fillStyle = SKY;
    under.fillRect(0, 0, ground.width, ground.height);
    changed();
    if (live.ground === "picture") {
      const image = await createImageBitmap(picture.blob);
      if (drawn.ground === "picture" && drawn.picture === picture) lay(image, image.width, image.height);
    }
    if (live.ground !== "camera") return;
    const stream = await navigator.mediaDevices.getUserMedia({ video: true }).catch(() => null);
    if (!stream || drawn.ground !== "camera") {
      stream?.getTracks().forEach((track) => track.stop());
      if (drawn.ground === "camera") store.change({ live: { ...store.state.live, ground: "sky" } });
      return;
    }
    camera = Object.assign(document.createElement("video"), { muted: true, srcObject: stream });
    await camera.play();
    follow(camera);
  }

  function follow(video) {
    if (video !== camera) return;
    lay(video, video.videoWidth, video.videoHeight);
    requestAnimationFrame(() => follow(video));
  }

  return {
    draw(state) {
      const { live, model, picture, form, tool } = state;
      const { width, height } = sizeOf(model);
      const scale = SIDE / Math.max(width, height);
      const resized = drawn.width !== width || drawn.height !== height;
      if (resized) {
        for (const one of [canvas, ground]) Object.assign(one, { width: width * scale, height: height * scale });
        $("live-panel").style.setProperty("--ratio", width / height);
      }
      $("live-ring").style.setProperty("--brush", `${(100 * widthOf(form, canvas)) / canvas.width}%`);
      $("live-ring").dataset.tool = tool;
      if (!live.on) giveUp();
      const laid = live.on ? live.ground : "sky"; // the camera is off when nobody draws
      const fresh = resized || drawn.ground !== laid || (laid === "picture" && drawn.picture !== picture);
      const redrawn = resized || drawn.ops !== live.ops;
      drawn = { width, height, ops: live.ops, ground: laid, picture };
      if (redrawn) draw(context, live.ops, live.colour);
      if (fresh) begin({ live: { ground: laid }, picture });
      if (redrawn) changed();
    },
    take() {
      const { width, height } = sizeOf(store.state.model);
      const frame = new OffscreenCanvas(width, height);
      const onto = frame.getContext("2d");
      onto.imageSmoothingQuality = "high";
      for (const one of [ground, canvas]) onto.drawImage(one, 0, 0, width, height);
      return frame.convertToBlob({ type: camera ? "image/jpeg" : "image/png", quality: 0.92 });
    },
  };
}

/** The size that a model likes best. */
const sizeOf = (model) => model?.sizes.default ?? { width: SIDE, height: SIDE };
