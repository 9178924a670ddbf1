// The page's state, and the one way to change it.
//
// What happens (a key, a file, a message from the server) calls `change`, which makes the next state
// and shows it to whoever watches. Watchers draw what they are shown, and change nothing.

export const IDEAS = [
  "winter mountains at night",
  "autumn hills at sunset, watercolour",
  "the desert at noon, poster",
];

export const HISTORY = 24; // results that are kept

export const BEGINNING = {
  fields: [], // of the further settings that the server takes
  server: null, // what /v1/capabilities answered
  model: null, // one of server.models
  picture: null, // {key, blob, url, width, height}: what will be repainted
  references: [], // pictures to go by, as `picture` is: see parts/references.js
  mask: { on: false, of: null, ops: [] }, // what of it: see mask.js
  tool: "brush", // or "eraser"
  live: { on: false, ops: [], colour: "#6f9a3c", ground: "sky" }, // the drawing; over "sky", "picture" or "camera"
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
    brush: 15, // per cent of the picture's shorter side
    feather: 0, // pixels
    seen: 0.6, // how much the reference pictures count
    styles: [], // {name, words, on}
    loras: {}, // weights that are not 0, by name
    control: {}, // what each control network is shown, by its name: see parts/structure.js
    further: {}, // what else was set, by the API's names: see fields.js
  },
  jobs: [], // those under way, in the order they were asked for: see progress.js
  results: [], // newest first: see results.js
  at: null, // the key of the job or the result on the easel; null shows the picture itself
  split: 0, // how much of it is still the picture before, in per cent
  revealing: false,
  pace: {}, // by model, measured by this page: {step, other, words, pixels}
  away: false, // the server has not answered yet
  notice: null, // {text, kind: "error" | "note", settings: of a picture that carries its own}
  dragging: false,
};

/** What is on the easel: a `job`, a `result`, or the `sheet` of all that one job made; or none of them. */
export function onEasel({ at, jobs, results }) {
  const sheet = results.filter(({ job }) => job === at);
  return {
    job: jobs.find(({ key }) => key === at),
    result: results.find(({ key }) => key === at),
    sheet: sheet.length > 0 ? sheet : undefined,
  };
}

/** Whether the easel shows the picture that is to be repainted, and nothing over it. */
export function isBare(state) {
  const { job, result, sheet } = onEasel(state);
  return Boolean(state.picture) && !state.live.on && !job && !result && !sheet;
}

/** A name of our own for a job or a picture. (`randomUUID` is kept from pages without TLS.) */
export function newKey() {
  return [...crypto.getRandomValues(new Uint32Array(4))].map((one) => one.toString(36)).join("");
}

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
