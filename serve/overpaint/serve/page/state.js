// The page's state, and the one way to change it.
//
// What happens (a key, a file, a message from the server) calls `change`, which makes the next state
// and shows it to whoever watches. Watchers draw what they are shown, and change nothing.

export const IDEAS = [
  "winter mountains at night",
  "autumn hills at sunset, watercolour",
  "the desert at noon, poster",
];

export const BEGINNING = {
  server: null, // what /v1/capabilities answered
  model: null, // one of server.models
  picture: null, // {blob, url, width, height}: what will be repainted
  original: null, // the last picture that a person brought; results are used as input too
  form: {
    prompt: IDEAS[0],
    mode: "modify",
    strength: 0.6,
    steps: 20,
    guidance: 7.5,
    sampler: "default",
    n: 1,
    size: null,
    seed: "",
    locked: false,
    avoid: "",
    styles: [], // {name, words, on}
  },
  job: null, // the one under way: see progress.js
  results: [], // newest first: see results.js
  shown: null, // the one on the easel; null shows the picture itself
  split: 0, // how much of it is still the picture before, in per cent
  revealing: false,
  pace: {}, // by model, measured by this page: {step, other, pixels}
  away: false, // the server has not answered yet
  notice: null, // {text, kind: "error" | "note"}
  dragging: false,
};

export function createStore(beginning) {
  const watchers = [];
  let state = beginning;

  function change(part) {
    state = { ...state, ...part };
    for (const draw of watchers) draw(state);
  }

  return {
    get state() {
      return state;
    },
    change,
    changeForm: (part) => change({ form: { ...state.form, ...part } }),
    /** Draw what is there now, and after every change. */
    watch(draw) {
      watchers.push(draw);
      draw(state);
    },
  };
}
