// What of a picture is repainted, as what was done with the brush: `ops`, in their order, in the picture's
// pixels. An op is {kind: "brush" | "eraser", size, points: [x, y, x, y, …]}, or {kind: "invert" | "clear"};
// a drawing's brush has a `colour` of its own (parts/live_sheet.js).
// The state's `mask` is {on, of, ops}: whether only a part is repainted, and the key of the picture.

const MIXED = { brush: "source-over", eraser: "destination-out", invert: "source-out" };

/** What was done over the picture that is to be repainted. */
export const opsOver = ({ mask, picture }) => (picture && mask.of === picture.key ? mask.ops : []);

/** The same where it says which part is repainted; null where all of it is. */
export function maskOf(state) {
  const ops = opsOver(state);
  return state.mask.on && isPainted(ops) ? ops : null;
}

/** Whether anything is there: what came before the last "clear" is not. */
export const isPainted = (ops) => ops.length > 0 && ops.at(-1).kind !== "clear";

/** The brush, which is told in per cent of a sheet's shorter side, in the sheet's pixels. */
export const widthOf = ({ brush: share }, { width, height }) => (share / 100) * Math.min(width, height);

/** The options that mean something with a mask alone. */
export const isOfMask = (name) => name.startsWith("mask_");

/** Draw on a canvas that is `scale` times as large as the picture, transparent where nothing is repainted. */
export function draw(context, ops, colour, scale = 1) {
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, context.canvas.width / scale, context.canvas.height / scale);
  context.fillStyle = colour;
  context.strokeStyle = colour;
  for (const op of ops) add(context, op, scale);
}

/** Draw one more op over those before it. */
export function add(context, op, scale = 1) {
  const { width, height } = context.canvas;
  if (op.kind === "clear") return context.clearRect(0, 0, width / scale, height / scale);
  if (op.colour) context.fillStyle = context.strokeStyle = op.colour;
  context.globalCompositeOperation = MIXED[op.kind];
  if (op.kind === "invert") context.fillRect(0, 0, width / scale, height / scale);
  else stroke(context, op);
  context.globalCompositeOperation = "source-over";
}

function stroke(context, { size, points: [x, y, ...rest] }) {
  context.beginPath(); // a line without length is none: it begins with a dot
  context.arc(x, y, size / 2, 0, 2 * Math.PI);
  context.fill();
  context.lineWidth = size;
  context.lineCap = "round";
  context.lineJoin = "round";
  context.beginPath();
  context.moveTo(x, y);
  for (let i = 0; i < rest.length; i += 2) context.lineTo(rest[i], rest[i + 1]);
  context.stroke();
}

const files = new WeakMap(); // by ops, which never change: one file goes up once

/** The PNG that the server takes: of the picture's own size, white where it is repainted. */
export function maskFile(ops, { width, height }) {
  if (!files.has(ops)) files.set(ops, made(ops, width, height));
  return files.get(ops);
}

function made(ops, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  draw(context, ops, "#fff");
  context.globalCompositeOperation = "destination-over";
  context.fillStyle = "#000";
  context.fillRect(0, 0, width, height);
  return canvas.convertToBlob({ type: "image/png" });
}
