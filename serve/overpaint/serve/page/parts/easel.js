// The picture, and over it what was made of it: a slider compares the two. Several that were made at
// once lie side by side, to choose from.

import { $, element, list, set, show } from "../dom.js";
import { sizeOf } from "../plan.js";
import { onEasel } from "../state.js";

export function easel(store) {
  const stage = $("stage");
  $("frame").addEventListener("animationend", () => store.change({ revealing: false }));
  $("compare").addEventListener("input", ({ target }) => {
    store.change({ split: Number(target.value), revealing: false });
  });
  $("compare").addEventListener("pointerdown", () => {
    stage.dataset.sliding = "";
  });
  window.addEventListener("pointerup", () => {
    delete stage.dataset.sliding;
  });

  return (state) => {
    const { split, revealing } = state;
    const { job, result, sheet } = onEasel(state);
    const view = viewOf(state);
    const before = job || result ? (job ?? result).from : state.picture;
    const compare = view === "result" && Boolean(before);
    stage.dataset.view = view;
    stage.toggleAttribute("data-compare", compare);
    stage.toggleAttribute("data-both", compare && split > 0 && split < 100);
    stage.toggleAttribute("data-before", compare && split > 0);
    stage.toggleAttribute("data-reveal", compare && revealing);
    drawFrame(frameOf(job, result ?? before), compare ? split : 0);
    show($("before"), before?.url, result ? "The picture before" : "Your picture");
    show($("after"), result?.url, result ? `Repainted: ${result.asked.prompt}` : "");
    show($("preview"), job?.preview);
    $("preview").classList.toggle("here", Boolean(job?.preview));
    set($("compare"), { value: String(split), ariaValueText: `${split} % of the picture before` });
    drawSheet(sheet ?? [], store);
  };
}

function viewOf(state) {
  const { job, result, sheet } = onEasel(state);
  if (job) return "running";
  if (result) return "result";
  if (sheet) return "sheet";
  if (state.picture) return "picture";
  return state.server ? "empty" : "loading";
}

/** Words alone have no picture to dim while they are painted: the frame takes the asked size. */
function frameOf(job, picture) {
  if (picture) return picture;
  return job ? sizeOf(job.asked) : { width: 1, height: 1 };
}

function drawFrame({ width, height }, split) {
  const { style } = $("frame");
  style.setProperty("--ratio", width / height);
  style.setProperty("--natural", `${width}px`);
  style.setProperty("--split", `${split}%`);
}

function drawSheet(results, store) {
  const columns = results.length < 4 ? results.length : Math.ceil(Math.sqrt(results.length));
  const { width, height } = results[0] ?? { width: 1, height: 1 };
  const { style } = $("sheet");
  style.setProperty("--columns", columns);
  style.setProperty("--ratio", (columns * width) / (Math.ceil(results.length / columns) * height));
  const make = () => element("li", {}, element("button", { type: "button" }, element("img", { alt: "" }), element("span")));
  list($("sheet"), results, make, (item, result, i) => {
    const button = item.firstChild;
    set(button, {
      ariaLabel: `Choose ${i + 1} of ${results.length}, seed ${result.seed}`,
      onclick: () => {
        store.change({ at: result.key, split: 0, revealing: false });
        $("sheet-again").focus(); // the button that was pressed is hidden now
      },
    });
    show(button.firstChild, result.url);
    set(button.lastChild, { textContent: `seed ${result.seed}` });
  });
}
