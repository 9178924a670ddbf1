// The mask over the picture: seen through, painted with a mouse, a pen or a finger.

import { $ } from "../dom.js";
import { add, draw, opsOver } from "../mask.js";
import { isBare } from "../state.js";

const COLOUR = "#ff4d12";
const SHARPEST = 1024; // the longer side of what is on the screen; what is sent has the picture's own

export function brush(store) {
  const canvas = $("mask");
  const context = canvas.getContext("2d");
  let stroke = null; // that is being painted,
  let pointer = null; // and with what: further fingers paint nothing
  let drawn = {}; // what the canvas shows: {picture, ops}

  canvas.addEventListener("pointerdown", (event) => {
    const { form, picture, tool } = store.state;
    if (stroke || event.button !== 0) return;
    pointer = event.pointerId;
    canvas.setPointerCapture(pointer);
    stroke = { kind: tool, size: widthOf(form, picture), points: [] };
    paint(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    drawRing(event);
    if (!stroke || event.pointerId !== pointer) return;
    const passed = event.getCoalescedEvents(); // several, where the hand was faster than the screen
    for (const one of passed.length > 0 ? passed : [event]) paint(one);
  });
  for (const type of ["pointerup", "pointercancel"]) canvas.addEventListener(type, end);
  for (const type of ["pointerenter", "pointerleave"]) {
    canvas.addEventListener(type, (event) => {
      $("ring").hidden = type === "pointerleave";
      drawRing(event);
    });
  }

  function paint(event) {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    const { picture } = store.state;
    const x = ((event.clientX - left) / width) * picture.width;
    const y = ((event.clientY - top) / height) * picture.height;
    const last = stroke.points.slice(-2);
    stroke.points.push(Math.round(10 * x) / 10, Math.round(10 * y) / 10);
    add(context, { ...stroke, points: [...last, ...stroke.points.slice(-2)] }, scaleOf(picture));
  }

  function end({ pointerId }) {
    if (!stroke || pointerId !== pointer) return;
    const { picture } = store.state;
    const ops = [...opsOver(store.state), stroke];
    stroke = null;
    store.change({ mask: { on: true, of: picture.key, ops } });
  }

  return (state) => {
    const { picture, mask, form, tool } = state;
    const shown = isBare(state) && mask.on;
    $("stage").toggleAttribute("data-masking", shown);
    if (!shown) {
      stroke = null;
      return;
    }
    $("frame").style.setProperty("--feather", form.feather / seenSide(state));
    $("ring").style.setProperty("--brush", `${(100 * widthOf(form, picture)) / picture.width}%`);
    $("ring").dataset.tool = tool;
    const ops = opsOver(state);
    if (drawn.picture === picture && drawn.ops === ops) return;
    if (drawn.picture !== picture) {
      canvas.width = Math.round(picture.width * scaleOf(picture));
      canvas.height = Math.round(picture.height * scaleOf(picture));
    }
    draw(context, ops, COLOUR, scaleOf(picture));
    drawn = { picture, ops };
  };
}

function drawRing({ offsetX, offsetY, target }) {
  $("ring").style.setProperty("--x", `${(100 * offsetX) / target.clientWidth}%`);
  $("ring").style.setProperty("--y", `${(100 * offsetY) / target.clientHeight}%`);
}

/** The brush, which is told in per cent of the picture's shorter side, in the picture's pixels. */
const widthOf = ({ brush: share }, { width, height }) => (share / 100) * Math.min(width, height);

const scaleOf = ({ width, height }) => Math.min(1, SHARPEST / Math.max(width, height));

/** How wide the server will have the picture, in whose pixels it feathers. */
function seenSide({ picture: { width, height }, server }) {
  return width * Math.min(1, (server?.limits?.upload_side ?? Infinity) / Math.max(width, height));
}
