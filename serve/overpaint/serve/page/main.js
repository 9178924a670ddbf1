// overpaint's page.
//
// One state (state.js), which every part of the page (parts/) draws, and which what people do there
// changes. A part is a function: it listens, and returns how it is drawn from the state. All else is
// independent of the document: the server (api.js, job.js), what outlives a reload (memory.js), and what
// the state amounts to (plan.js, progress.js, request.js, results.js).

import * as access from "./access.js";
import { createApi } from "./api.js";
import { pause } from "./job.js";
import { fieldsOf } from "./fields.js";
import { createMemory, keepForm, keptForm } from "./memory.js";
import { brush } from "./parts/brush.js";
import { easel } from "./parts/easel.js";
import { further } from "./parts/further.js";
import { go } from "./parts/go.js";
import { chosen, head } from "./parts/head.js";
import { how } from "./parts/how.js";
import { incoming } from "./parts/incoming.js";
import { loras } from "./parts/loras.js";
import { live } from "./parts/live.js";
import { masking } from "./parts/masking.js";
import { more, seed } from "./parts/more.js";
import { progressBar } from "./parts/progress_bar.js";
import { references } from "./parts/references.js";
import { result } from "./parts/result.js";
import { strip } from "./parts/strip.js";
import { structure } from "./parts/structure.js";
import { styles, words } from "./parts/words.js";
import { createAlbum } from "./pictures.js";
import { createRunner } from "./repaint.js";
import { BEGINNING, createStore } from "./state.js";

access.takeFromLink();
const store = createStore(BEGINNING);
const api = createApi(access);
const album = createAlbum();
const runner = createRunner(store, api, album);
const parts = [
  head(store),
  easel(store),
  brush(store),
  masking(store),
  progressBar(store, runner),
  result(store, runner),
  strip(store, runner),
  words(store),
  how(store),
  styles(store),
  references(store, album),
  loras(store, runner),
  more(store),
  further(store),
  structure(store),
  seed(store),
  go(store, runner),
  incoming(store, api, album),
  live(store, api, album),
];
store.watch((state) => {
  for (const draw of parts) draw(state);
});

const before = keptForm();
const memory = await createMemory(album);
const { jobs, results } = await memory.load();
const { pace = {}, mask = BEGINNING.mask, at = null } = before ?? {};
const picture = (jobs.at(-1) ?? results[0])?.from ?? null;
store.change({ jobs, results, pace, mask, at, picture, original: picture });
store.watch(memory.keep);
runner.resume(jobs);

const server = await greet();
store.change({ server, away: false, ...beginning(server, before) });
store.watch(keepForm);
await Promise.all([offerExample(), describeFurther()]);

/** The model and the form to begin with: those of before a reload, or else the first model's. */
function beginning(server, before) {
  const model = server.models.find(({ name }) => name === before?.model);
  if (model) return { model, form: { ...store.state.form, ...before.form } };
  const form = {
    ...store.state.form,
    styles: (server.styles ?? []).map((row) => ({ ...row, on: true })),
    avoid: server.negative_prompt ?? "",
  };
  return chosen({ server, form }, server.models[0].name);
}

/** What the server can do, once it is there. */
async function greet() {
  for (;;) {
    try {
      return await api.capabilities();
    } catch {
      store.change({ away: true });
      await pause(2000);
    }
  }
}

/** What else the server takes, as its own schema has it. */
async function describeFurther() {
  const schema = await api.schema().catch(() => null);
  const asked = schema?.components.schemas.JobRequest;
  if (asked) store.change({ fields: fieldsOf(asked.properties) });
}

/** A picture to begin with, unless somebody was faster. */
async function offerExample() {
  const opened = await api.example().then(album.open).catch(() => null);
  if (!opened || store.state.picture) return;
  const example = { ...opened, name: "example" };
  store.change({ picture: example, original: example });
}
