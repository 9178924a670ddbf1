// The mask over the picture: seen through, painted with a brush.

import { $ } from "../dom.js";
import { add, draw, opsOver, widthOf } from "../mask.js";
import { isBare } from "../state.js";
import { strokes } from "../strokes.js";

const COLOUR = "#ff4d12";
const SHARPEST = 1024; // the longer side of what is on the screen; what is sent has the picture's own

export function brush(store) {
  const canvas = $("mask");
  const context = canvas.getContext("2d");
  let drawn = {}; // what the canvas shows: {picture, ops}

  const giveUp = strokes(canvas, $("ring"), {
    sheet: () => store.state.picture,
    begin: () => {
      const { form, picture, tool } = store.state;
      return { kind: tool, size: widthOf(form, picture), points: [] };
    },
    add: (piece) => add(context, piece, scaleOf(store.state.picture)),
    end: (stroke) => {
      const ops = [...opsOver(store.state), stroke];
      store.change({ mask: { on: true, of: store.state.picture.key, ops } });
    },
  });

  return (state) => {
    const { picture, mask, form, tool } = state;
    const shown = isBare(state) && mask.on;
    $("stage").toggleAttribute("data-masking", shown);
    if (!shown) {
      giveUp();
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

const scaleOf = ({ width, height }) => Math.min(1, SHARPEST / Math.max(width, height));

/** How wide the server will have the picture, in whose pixels it feathers. */
function seenSide({ picture: { width, height }, server }) {
  return width * Math.min(1, (server?.limits?.upload_side ?? Infinity) / Math.max(width, height));
}
