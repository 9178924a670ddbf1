// Draw live: the drawing on the left, what the model makes of it on the right, while it is drawn.

import { $, list, makeButton, element, set } from "../dom.js";
import { createLive } from "../live.js";
import { asSentence, say } from "../messages.js";
import { planned } from "../plan.js";
import { turnedOf } from "../request.js";
import { brushKeys, otherTool } from "./brush_keys.js";
import { sheet } from "./live_sheet.js";

const COLOURS = {
  snow: "#f4f7fb",
  grass: "#6f9a3c",
  trees: "#2f5b38",
  rock: "#84796f",
  roof: "#b04a2f",
  sun: "#ffd75e",
  water: "#3f7ea8",
  sky: "#a9cdea",
};
const SAID = {
  connecting: "Connecting…",
  live: "Draw, and it is repainted.",
  idle: "Paused, since nothing was drawn for a while. Draw, and it goes on.",
  lost: "The connection was lost. Reconnecting…",
};
const RECENT = 20; // pictures of which the pace is told

export function live(store, api, album) {
  const change = (part) => store.change({ live: { ...store.state.live, ...part } });
  const undo = () => change({ ops: store.state.live.ops.slice(0, -1) });
  let shown = null; // {blob, url} on the right
  let times = []; // of the last pictures
  let count = 0;
  let begun = null; // {model, said} of the session, what it was told last

  const asked = () => {
    const { form, model } = store.state;
    const { width, height } = model.sizes.default;
    const seed = form.locked && form.seed !== "" ? Number(form.seed) : null;
    const size = `${width}x${height}`;
    const lora = turnedOf(store.state);
    return { model: model.name, size, seed, prompt: form.prompt, strength: strengthOf(store.state), lora };
  };
  const connection = createLive(api, {
    asked,
    take: () => paper.take(),
    tell(phase, words) {
      const told = SAID[phase] ?? asSentence(words) + (phase === "refused" ? " Trying again…" : "");
      set($("live-said"), { textContent: told });
      $("live-panel").dataset.phase = phase;
      if (phase !== "live" && phase !== "connecting") say(told);
    },
    show(blob, { seconds }) {
      const url = URL.createObjectURL(blob);
      if (shown) URL.revokeObjectURL(shown.url);
      shown = { blob, url };
      set($("live-out"), { src: url, alt: `Repainted: ${store.state.form.prompt}` });
      set($("live-download"), { href: url });
      $("live-snapshot").hidden = false;
      count += 1;
      const now = performance.now();
      times = [...times.filter((time) => now - time < 2000), now].slice(-RECENT);
      const pace = times.length > 2 ? `${Math.round((1000 * (times.length - 1)) / (now - times[0]))} a second · ` : "";
      const pictures = count === 1 ? "1 picture" : `${count} pictures`;
      set($("live-said"), { textContent: `${pictures} · ${pace}${Math.round(1000 * seconds)} ms` });
      $("live-panel").dataset.phase = "live";
    },
  });
  const paper = sheet(store, connection.touch);

  $("live-switch").addEventListener("click", () => change({ on: !store.state.live.on }));
  $("live-undo").addEventListener("click", undo);
  $("live-clear").addEventListener("click", () => change({ ops: [...store.state.live.ops, { kind: "clear" }] }));
  $("live-eraser").addEventListener("click", () => otherTool(store));
  $("live-size").addEventListener("input", ({ target }) => store.changeForm({ brush: Number(target.value) }));
  for (const ground of ["picture", "camera"]) {
    const other = () => (store.state.live.ground === ground ? "sky" : ground);
    $(`live-${ground}`).addEventListener("click", () => change({ ground: other() }));
  }
  $("live-use").addEventListener("click", async () => {
    const picture = await album.open(shown.blob);
    change({ on: false });
    store.change({ picture, original: picture, at: null });
    $("prompt").focus(); // what was pressed is hidden now
  });
  brushKeys(store, () => store.state.live.on, undo);

  return (state) => {
    const { form, tool, server, model, picture } = state;
    const { on, ops, colour, ground } = state.live;
    $("live-switch").hidden = !model || !server?.limits?.live_sessions;
    $("live-switch").setAttribute("aria-pressed", String(on));
    document.body.toggleAttribute("data-live", on);
    $("live-panel").hidden = !on;
    list($("live-colours"), Object.entries(COLOURS), makeSwatch, (button, [name, value]) => {
      set(button.lastChild, { textContent: name });
      set(button, { onclick: () => store.change({ tool: "brush", live: { ...store.state.live, colour: value } }) });
      button.style.setProperty("--colour", value);
      button.setAttribute("aria-pressed", String(tool === "brush" && value === colour));
    });
    $("live-eraser").setAttribute("aria-pressed", String(tool === "eraser"));
    set($("live-size"), { value: String(form.brush), ariaValueText: `${form.brush} %` });
    set($("live-undo"), { disabled: ops.length === 0 });
    set($("live-clear"), { disabled: ops.length === 0 || ops.at(-1).kind === "clear" });
    $("live-picture").hidden = !picture;
    $("live-camera").hidden = !navigator.mediaDevices?.getUserMedia;
    for (const one of ["picture", "camera"]) $(`live-${one}`).setAttribute("aria-pressed", String(ground === one));
    paper.draw(state);
    const said = on && model ? JSON.stringify([form.prompt, strengthOf(state), turnedOf(state)]) : null;
    follow(said && { model: model.name, said });
  };

  /** Begin and end the session, and tell it what is new in the form. */
  function follow(wanted) {
    const before = begun;
    begun = wanted;
    if (before?.model !== wanted?.model) {
      if (before) connection.end();
      if (wanted) connection.begin();
    } else if (before && before.said !== wanted.said) connection.touch();
  }
}

const strengthOf = (state) => planned(state).strength;

function makeSwatch() {
  const button = makeButton();
  button.append(element("i"), element("span"));
  return button;
}
