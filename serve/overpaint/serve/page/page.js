// overpaint's page.
//
// One state object. What happens (a key, a file, a message from the server) calls `change`, which
// merges into the state and draws. Drawing reads the state and writes the document, nothing else.
// Words from people and from the server only ever become text and values, never markup.

const $ = (id) => document.getElementById(id);

// ── State ────────────────────────────────────────────────────────────────────

const IDEAS = [
  "winter mountains at night",
  "autumn hills at sunset, watercolour",
  "the desert at noon, poster",
];
const PRESETS = [
  ["Touch-up", 0.3],
  ["Restyle", 0.6],
  ["Reimagine", 0.85],
];
const HISTORY = 24;

const state = {
  server: null, // what /v1/capabilities answered
  model: null, // one of server.models
  picture: null, // {blob, url, width, height, upload: {id} | null}: what will be repainted
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
  job: null, // {phase, position, step, total, eta, preview}: the one under way
  results: [], // newest first: {url, before, width, height, asked, seed, seconds, device, ...}
  shown: null, // the one on the easel; null shows the picture itself
  split: 0, // how much of it is still the picture before, in per cent
  revealing: false,
  pace: {}, // by model, measured by this page: {step, other, pixels}
  away: false, // the server has not answered yet
  notice: null, // {text, kind: "error" | "note"}
  dragging: false,
};

function change(part) {
  Object.assign(state, part);
  draw();
}
const changeForm = (part) => change({ form: { ...state.form, ...part } });
const changeJob = (part) => state.job && change({ job: { ...state.job, ...part } });

// ── What the settings amount to ──────────────────────────────────────────────

/** Steps that strength `s` runs out of `n`, in the doubles that the server computes in. */
function stepsOf(s, n, rounding) {
  const share = Math.min(n * s, n);
  return rounding === "up" ? n - Math.trunc(n - share) : Math.trunc(share);
}

/** The shortest strength that runs exactly `k` of `n` steps: 29/50 would lose one to rounding. */
function strengthFor(k, n, rounding) {
  const near = [2, 3, 4].flatMap((digits) => {
    const at = Math.round((k / n) * 10 ** digits);
    return [at, at + 1, at - 1].map((tried) => tried / 10 ** digits);
  });
  return near.find((s) => s <= 1 && stepsOf(s, n, rounding) === k) ?? k / n;
}

/** What would run now: {k, n, strength, guidance} for the words and for the request alike. */
function planned({ form, model, server, picture }) {
  if (!picture) return { k: form.steps, n: form.steps, strength: null, guidance: form.guidance };
  if (form.mode === "copy") {
    const copy = server?.modes?.copy ?? { strength: 0.05, steps: 15, guidance_scale: 1 };
    return { k: copy.steps, n: copy.steps, strength: copy.strength, guidance: copy.guidance_scale };
  }
  const { steps: n, strength, guidance } = form;
  const rounding = model?.steps?.rounding;
  const k = stepsOf(strength, n, rounding);
  return k > 0 ? { k, n, strength, guidance } : { k: 1, n, strength: strengthFor(1, n, rounding), guidance };
}

/** Pixels of what will be painted; the server shrinks to `upload_side`. */
function area({ form, picture, server }) {
  const [width, height] = picture ? [picture.width, picture.height] : form.size.split("x").map(Number);
  const scale = Math.min(1, (server.limits?.upload_side ?? Infinity) / Math.max(width, height));
  return width * height * scale * scale;
}

/** Seconds it should take, by this page's own measurement or else the server's; null: not known. */
function expected(state, plan) {
  const { form, model, pace } = state;
  const own = pace[model?.name];
  if (own) {
    const step = own.step * (area(state) / own.pixels) * (plan.guidance > 1 ? 2 : 1);
    return (step * plan.k + own.other) * form.n;
  }
  return model?.pace ? (model.pace.step_s * plan.k + model.pace.other_s) * form.n : null;
}

/** "60 % · 12 of 20 steps · about 4 s" */
function reading(state) {
  const plan = planned(state);
  const seconds = expected(state, plan);
  return [
    plan.strength === null ? null : `${Math.round(plan.strength * 100)} %`,
    plan.k === plan.n ? `${plan.n} steps` : `${plan.k} of ${plan.n} steps`,
    seconds === null ? null : `about ${duration(seconds)}`,
  ]
    .filter(Boolean)
    .join(" · ");
}

function duration(seconds) {
  if (seconds < 1) return "a second";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return `${Math.round(seconds / 60)} min`;
}

/** The job as the API takes it. `image` is an upload's id. */
function requestOf(state, seed) {
  const { form, model, picture } = state;
  const plan = planned(state);
  const modify = picture && form.mode === "modify";
  const words = (row) => row.on && row.words.trim();
  const request = { model: model.name, prompt: form.prompt.trim(), n: form.n, seed, sampler: form.sampler };
  if (form.avoid.trim()) request.negative_prompt = form.avoid.trim();
  if (!picture) return { ...request, size: form.size, steps: form.steps, guidance_scale: form.guidance };
  if (!modify) return { ...request, mode: "copy" };
  const styles = Object.fromEntries(form.styles.filter(words).map((row) => [row.name, row.words.trim()]));
  return {
    ...request,
    mode: "modify",
    styles,
    strength: plan.strength,
    steps: form.steps,
    guidance_scale: form.guidance,
  };
}

// ── The server ───────────────────────────────────────────────────────────────

class Problem extends Error {
  constructor(status, error = {}, retryAfter = 0) {
    super(error.message ?? "");
    Object.assign(this, { status, code: error.code ?? "", id: error.id, retryAfter });
  }
}

const token = () => sessionStorage.getItem("token");

async function call(path, options = {}) {
  const headers = { ...options.headers, ...(token() && { Authorization: `Bearer ${token()}` }) };
  const answer = await fetch(path, { ...options, headers }).catch((error) => {
    throw error.name === "AbortError" ? error : new Problem(0);
  });
  if (answer.ok) return answer;
  const { error } = await answer.json().catch(() => ({}));
  if (answer.status === 401) return signIn().then(() => call(path, options));
  throw new Problem(answer.status, error, Number(answer.headers.get("Retry-After")));
}

/** The answer's body as `kind`: json or blob. A connection may also end in the middle of it. */
async function body(kind, path, options) {
  const answer = await call(path, options);
  return answer[kind]().catch((error) => {
    throw error.name === "AbortError" ? error : new Problem(0);
  });
}

/** What went wrong, in a sentence that says what to do. */
function sentence(problem) {
  if (!(problem instanceof Problem)) return `This page made a mistake: ${problem.message}`;
  const limits = state.server?.limits;
  const said = problem.message && problem.message[0].toUpperCase() + problem.message.slice(1);
  switch (problem.status) {
    case 0:
      return "The server does not answer. Is it still running?";
    case 413:
      return `This picture is too large: ${megabytes(limits?.upload_bytes)} and ${megapixels(limits?.upload_pixels)} are the most.`;
    case 415:
      return "This is not a picture that can be read. PNG, JPEG and WEBP work.";
    case 500:
      return `Something broke on the server. Its log has it under ${problem.id}.`;
    default:
      return said ? `${said.replace(/[.\s]+$/, "")}.` : `The server answered ${problem.status}.`;
  }
}
const megabytes = (bytes) => `${Math.round((bytes ?? 1e7) / 1e6)} MB`;
const megapixels = (pixels) => `${Math.round((pixels ?? 16e6) / 1e6)} megapixels`;

function signIn() {
  const dialog = $("sign-in");
  const why = token() ? "That was not it. " : "";
  set($("sign-in-why"), {
    textContent: `${why}Whoever started it has it. It stays in this tab until you close it.`,
  });
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => {
        sessionStorage.setItem("token", $("token").value.trim());
        resolve();
      },
      { once: true },
    );
  });
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        reject(signal.reason);
      },
      { once: true },
    );
  });
}

// ── A job, from the button to the picture ────────────────────────────────────

let stopping = null; // AbortController of the job under way

async function repaint({ newSeed = false } = {}) {
  if (state.job || !state.model || !$("controls").reportValidity()) return;
  if (!state.form.prompt.trim()) {
    change({ notice: { kind: "error", text: "Say in a few words what it should become." } });
    $("prompt").focus();
    return;
  }
  const keep = state.form.locked && !newSeed && state.form.seed !== "";
  const seed = keep ? Number(state.form.seed) : crypto.getRandomValues(new Uint32Array(1))[0];
  const asked = requestOf(state, seed);
  const from = state.picture;
  stopping = new AbortController();
  if ($("result").contains(document.activeElement)) $("run").focus(); // what was pressed hides now
  changeForm({ seed: String(seed) });
  change({ job: { phase: "sending" }, notice: null, shown: null });
  say(`Sent, seed ${seed}.`);
  $("stage").scrollIntoView({ block: "nearest" });
  let id = null;
  try {
    ({ id } = await submit(asked, from, stopping.signal));
    stopping.signal.throwIfAborted();
    const ended = await follow(id, stopping.signal);
    if (ended.status !== "completed") throw new Problem(-1, ended.error ?? {});
    changeJob({ phase: "fetching" });
    await keepResults(ended, asked, from, stopping.signal);
  } catch (problem) {
    if (problem.name === "AbortError" || problem.code === "cancelled") {
      if (id) call(`/v1/jobs/${id}`, { method: "DELETE" }).catch(() => {}); // gone already is fine
      change({ job: null, notice: { kind: "note", text: "Cancelled. Nothing was kept of it." } });
    } else {
      change({ job: null, notice: { kind: "error", text: sentence(problem) } });
    }
  } finally {
    stopping = null;
  }
}

/** Hand the job in; wait where the server is loading or full; bring the picture again if its upload is gone. */
async function submit(asked, from, signal) {
  for (;;) {
    try {
      if (from && !from.upload) from.upload = await upload(from.blob, signal);
      return await hand(from ? { ...asked, image: from.upload.id } : asked);
    } catch (problem) {
      const gone = problem.code === "upload_gone" || problem.code === "upload_not_found";
      if (gone)
        from.upload = null; // it is still here, in memory
      else if (problem.status === 429 || problem.code === "loading") await holdOn(problem, signal);
      else throw problem;
    }
  }
}

/** Not to be aborted: a job that is there must be known, to be cancelled. */
function hand(job) {
  const headers = { "Content-Type": "application/json" };
  return body("json", "/v1/jobs", { method: "POST", body: JSON.stringify(job), headers });
}

async function holdOn(problem, signal) {
  for (let left = problem.retryAfter || 2; left > 0; left -= 1) {
    changeJob({ phase: problem.status === 429 ? "full" : "loading", left });
    await pause(1000, signal);
  }
}

function upload(blob, signal) {
  const form = new FormData();
  form.append("file", blob, "picture");
  return body("json", "/v1/uploads", { method: "POST", body: form, signal });
}

/**
 * Follow a job to its end. The events are for the eye; what counts is asked for, so a lost
 * connection costs nothing.
 */
async function follow(id, signal) {
  const seen = { seq: 0 };
  for (let unheard = 0; ;) {
    const job = await patiently(() => body("json", `/v1/jobs/${id}`, { signal }), signal).catch((problem) => {
      throw problem.status === 404 || problem.status === 410 ? LOST : problem;
    });
    if (!["queued", "running"].includes(job.status)) return job;
    if (job.status === "queued") progress({ type: "queued", position: job.queue_position });
    else if (job.progress) progress({ type: "step", index: job.progress.step, total: job.progress.total });
    else progress({ type: "started" });
    unheard = (await listen(id, seen, signal)) ? 0 : unheard + 1;
    if (unheard) await pause(Math.min(4000, 300 * 2 ** unheard), signal);
  }
}

const LOST = new Problem(-1, {
  message: "The server was restarted, and this job was lost with it. Repaint starts it again",
});

/** Do it, again and again while the server is away. */
async function patiently(act, signal) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await act();
    } catch (problem) {
      if (problem.status !== 0 && problem.status !== 503) throw problem;
    }
    changeJob({ phase: "lost" });
    await pause(Math.min(4000, 300 * 2 ** tries), signal);
  }
}

/** Hear the events until the connection ends; true if anything was heard. */
function listen(id, seen, signal) {
  return new Promise((resolve, reject) => {
    const protocols = ["overpaint.v1"];
    if (token())
      protocols.push(`bearer.${btoa(token()).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "")}`);
    const socket = new WebSocket(
      `${location.origin.replace(/^http/, "ws")}/v1/jobs/${id}/events?after=${seen.seq}`,
      protocols,
    );
    let heard = false;
    socket.onmessage = ({ data }) => {
      const event = JSON.parse(data);
      heard = true;
      seen.seq = Math.max(seen.seq, event.seq);
      progress(event);
    };
    socket.onclose = () => resolve(heard);
    signal.addEventListener(
      "abort",
      () => {
        socket.close();
        reject(signal.reason);
      },
      { once: true },
    );
  });
}

function progress(event) {
  const now = performance.now();
  if (event.type === "queued") changeJob({ phase: "queued", position: event.position });
  if (event.type === "started") changeJob({ phase: "running" });
  if (event.type === "step" && state.job) {
    const { since = { now, index: event.index }, preview } = state.job;
    const done = event.index - since.index;
    const eta = done > 0 ? (((now - since.now) / done) * (event.total - event.index)) / 1000 : null;
    changeJob({
      phase: "running",
      step: event.index,
      total: event.total,
      since,
      eta,
      preview: event.preview ?? preview,
    });
    milestone(event);
  }
}

async function keepResults(job, asked, from, signal) {
  const { result } = job;
  const results = await Promise.all(
    result.media.map(async (media, i) => {
      const blob = await patiently(() => body("blob", `/v1/media/${media}.png`, { signal }), signal);
      const made = await picture(blob);
      return {
        ...made,
        asked,
        from,
        before: from?.url ?? null,
        seed: result.seeds[i],
        steps: result.steps_run,
        seconds: result.timings.total,
        device: result.device,
        model: job.model,
        provider: job.fallback ? job.provider : null,
        prompt: result.settings.prompt ?? asked.prompt,
        warnings: result.warnings,
      };
    }),
  );
  const { denoise, total } = result.timings;
  const calls = result.steps_run * results.length * ((asked.guidance_scale ?? 1) > 1 ? 2 : 1);
  const pixels = results[0].width * results[0].height;
  const pace = calls
    ? { step: denoise / calls, other: (total - denoise) / results.length, pixels }
    : state.pace[job.model];
  change({
    job: null,
    pace: { ...state.pace, [job.model]: pace },
    results: [...results, ...state.results].slice(0, HISTORY),
    shown: results[0],
    split: 0,
    revealing: true,
  });
  release();
  say(`Done in ${duration(total)}: ${result.steps_run} steps, seed ${result.seeds[0]}.`);
}

/** Screen readers hear the quarters, not every step. */
function milestone({ index, total }) {
  const quarter = Math.floor((4 * index) / total);
  if (quarter > Math.floor((4 * (index - 1)) / total) && quarter < 4) say(`Step ${index} of ${total}.`);
}

const say = (text) => {
  $("live").textContent = text;
};

// ── Pictures come in ─────────────────────────────────────────────────────────

const urls = new Set();

/** Let go of the pictures that nothing shows or may show again. */
function release() {
  const { picture, original, results } = state;
  const used = new Set([picture?.url, original?.url, ...results.flatMap(({ url, before }) => [url, before])]);
  for (const url of urls) {
    if (!used.has(url) && urls.delete(url)) URL.revokeObjectURL(url);
  }
}

/** A blob, decoded and ready to show. Throws where the browser cannot read it. */
async function picture(blob) {
  const url = URL.createObjectURL(blob);
  urls.add(url);
  const image = new Image();
  image.src = url;
  await image.decode();
  return { blob, url, width: image.naturalWidth, height: image.naturalHeight, upload: null };
}

async function bring(file) {
  if (!file) return;
  try {
    const brought = await fitting(await picture(file));
    change({ picture: brought, original: brought, shown: null });
    release();
    say(`Your picture is here: ${brought.width} by ${brought.height} pixels.`);
  } catch {
    change({
      notice: {
        kind: "error",
        text: `${file.name || "This"} is not a picture that can be read. PNG, JPEG and WEBP work.`,
      },
    });
  }
}

/** Cameras make more than the server takes: shrink here, to the side that it would shrink to, and say so. */
async function fitting(large) {
  const limits = state.server?.limits ?? {};
  const fits =
    large.blob.size <= (limits.upload_bytes ?? 1e7) &&
    large.width * large.height <= (limits.upload_pixels ?? 16e6);
  const readable = ["image/png", "image/jpeg", "image/webp"].includes(large.blob.type);
  if (fits && readable) {
    change({ notice: null });
    return large;
  }
  const scale = Math.min(1, (limits.upload_side ?? 1024) / Math.max(large.width, large.height));
  const canvas = new OffscreenCanvas(Math.round(large.width * scale), Math.round(large.height * scale));
  const image = await createImageBitmap(large.blob, {
    resizeWidth: canvas.width,
    resizeHeight: canvas.height,
    resizeQuality: "high",
  });
  canvas.getContext("2d").drawImage(image, 0, 0);
  const small = await picture(await canvas.convertToBlob({ type: "image/png" }));
  const text = fits
    ? "Your picture was made a PNG, which the server reads."
    : `Your picture was large; it was shrunk to ${small.width} × ${small.height}, the most that is painted.`;
  change({ notice: { kind: "note", text } });
  return small;
}

const imageIn = (data) =>
  [...(data?.files ?? [])].find((file) => file.type.startsWith("image/")) ?? data?.files?.[0];

// ── Drawing ──────────────────────────────────────────────────────────────────

function draw() {
  drawHead(state);
  drawStage(state);
  drawProgress(state);
  drawResult(state);
  drawStrip(state);
  drawPrompt(state);
  drawHow(state);
  drawStyles(state);
  drawMore(state);
  drawGo(state);
  document.body.toggleAttribute("data-dragging", state.dragging);
}

/** Set only what differs, so that a caret stays where it is. */
function set(element, values) {
  for (const [name, value] of Object.entries(values)) {
    if (element[name] !== value) element[name] = value;
  }
}

/** Make `parent` hold one child an item, keeping those that are there. */
function list(parent, items, make, update) {
  while (parent.children.length > items.length) parent.lastChild.remove();
  items.forEach((item, i) => update(parent.children[i] ?? parent.appendChild(make(i)), item, i));
}

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const options = (select, names) =>
  list(
    select,
    names,
    () => element("option"),
    (option, [value, text]) => set(option, { value, textContent: text }),
  );

function drawHead({ server, model, results }) {
  const models = server?.models ?? [];
  $("model-choice").hidden = models.length < 2;
  options(
    $("model"),
    models.map(({ name }) => [name, name]),
  );
  if (model) set($("model"), { value: model.name });
  set($("device"), {
    textContent: model
      ? [models.length < 2 && model.name, model.device ?? results[0]?.device].filter(Boolean).join(" · ")
      : "",
  });
}

function drawStage({ server, picture, shown, job, split, revealing }) {
  const size = shown ?? picture;
  const before = shown ? shown.before : picture?.url;
  const view = job ? "running" : shown ? "result" : picture ? "picture" : server ? "empty" : "loading";
  const compare = view === "result" && Boolean(shown.before);
  const stage = $("stage");
  // words alone have no picture to dim while they are painted: the frame takes the asked size
  const words = job && !size ? state.form.size.split("x").map(Number) : null;
  stage.dataset.view = view;
  stage.toggleAttribute("data-compare", compare);
  stage.toggleAttribute("data-both", compare && split > 0 && split < 100);
  stage.toggleAttribute("data-before", compare && split > 0);
  stage.toggleAttribute("data-reveal", compare && revealing);
  const [width, height] = words ?? [size?.width ?? 1, size?.height ?? 1];
  $("frame").style.setProperty("--ratio", width / height);
  $("frame").style.setProperty("--natural", `${width}px`);
  $("frame").style.setProperty("--split", `${compare ? split : 0}%`);
  show($("before"), before, shown ? "The picture before" : "Your picture");
  show($("after"), shown?.url, shown ? `Repainted: ${shown.asked.prompt}` : "");
  show($("preview"), job?.preview, "");
  $("preview").classList.toggle("here", Boolean(job?.preview));
  set($("compare"), { value: String(split), ariaValueText: `${split} % of the picture before` });
}

function show(image, url, alt) {
  if (url && image.getAttribute("src") !== url) image.src = url;
  if (!url) image.removeAttribute("src");
  image.hidden = !url;
  set(image, { alt });
}

function drawProgress({ job, away }) {
  $("progress").hidden = !job && !away;
  $("bar").hidden = !job;
  if (!job) {
    set($("progress-text"), { textContent: away ? "The server does not answer. Trying again…" : "" });
    return;
  }
  const steps = job.phase === "running" && job.total ? { step: job.step ?? 0, total: job.total } : null;
  const bar = $("bar");
  bar.classList.toggle("waiting", !steps);
  bar.style.setProperty("--done", steps?.step ?? 0);
  bar.style.setProperty("--steps", steps?.total ?? 1);
  set(bar, {
    ariaValueNow: steps ? String(steps.step) : null,
    ariaValueMax: steps ? String(steps.total) : null,
    ariaValueText: progressText(job),
  });
  set($("progress-text"), { textContent: progressText(job) });
}

function progressText(job) {
  switch (job.phase) {
    case "sending":
      return "Sending it…";
    case "loading":
      return "The model is still loading. Yours starts as soon as it is ready.";
    case "full":
      return `The queue is full. Trying again in ${job.left} s.`;
    case "queued":
      return job.position > 0
        ? `In the queue: ${job.position} ${job.position === 1 ? "is" : "are"} before yours.`
        : "In the queue: yours is next.";
    case "lost":
      return "The connection was lost. Reconnecting…";
    case "fetching":
      return "Done. Fetching the picture…";
    default:
      if (!job.total) return "Reading the picture and the prompt…";
      if (job.step >= job.total) return "The last touch…";
      return `Step ${job.step} of ${job.total}${job.eta ? ` · about ${duration(job.eta)} left` : ""}`;
  }
}

function drawResult({ shown }) {
  $("result").hidden = !shown;
  if (!shown) return;
  set($("download"), { href: shown.url, download: `overpaint-${shown.seed}.png` });
  $("made-of").replaceChildren(element("b", { textContent: shown.prompt }), describe(shown));
  list(
    $("warnings"),
    shown.warnings,
    () => element("li"),
    (item, text) => set(item, { textContent: text }),
  );
}

/** "60 % · 12 steps · guidance 7.5 · seed 7 · 256 × 192 · 3.2 s on cpu" */
function describe({ asked, seed, steps, seconds, device, provider, width, height }) {
  return [
    asked.mode === "copy"
      ? "copy"
      : asked.strength == null
        ? "from words"
        : `${Math.round(asked.strength * 100)} %`,
    `${steps} steps`,
    asked.guidance_scale == null ? null : `guidance ${asked.guidance_scale}`,
    asked.sampler && asked.sampler !== "default" ? asked.sampler : null,
    `seed ${seed}`,
    `${width} × ${height}`,
    `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s${device ? ` on ${device}` : ""}`,
    provider ? `by ${provider}` : null,
  ]
    .filter(Boolean)
    .join(" · ");
}

const thumb = () =>
  element("li", {}, element("button", { type: "button" }, element("img", { alt: "" }), element("span")));

function drawStrip({ picture, original, results, shown, job }) {
  for (const id of ["pick", "words"]) set($(id), { disabled: Boolean(job) });
  $("words").setAttribute("aria-current", String(!picture && !shown));
  $("hint").hidden = results.length > 0;
  const sources = [
    original && [original, original.name ?? "original"],
    picture && picture !== original && [picture, "input"],
  ].filter(Boolean);
  list($("sources"), sources, thumb, (item, [source, name]) => {
    const [button, image, label] = item.querySelectorAll("*");
    button.source = source;
    button.setAttribute("aria-current", String(source === picture && !shown));
    set(button, { ariaLabel: `Start from the ${name}`, disabled: Boolean(job) });
    set(label, { className: "name", textContent: name });
    show(image, source.url, "");
  });
  list($("results"), results, thumb, (item, result) => {
    const [button, image] = item.querySelectorAll("*");
    button.result = result;
    button.setAttribute("aria-current", String(result === shown));
    set(button, {
      title: `${result.prompt}\n${describe(result)}`,
      ariaLabel: `Show: ${result.asked.prompt}, seed ${result.seed}`,
      disabled: Boolean(job),
    });
    show(image, result.url, "");
  });
}

function drawPrompt({ form, picture, server }) {
  set($("prompt-label"), { textContent: picture ? "What should it become?" : "What should be painted?" });
  set($("prompt"), { value: form.prompt, maxLength: server?.limits?.prompt_characters ?? 10000 });
  const others = IDEAS.filter((idea) => idea !== form.prompt);
  list(
    $("ideas"),
    others,
    () => element("button", { type: "button" }),
    (button, idea) => set(button, { textContent: idea }),
  );
}

function drawHow(state) {
  const { form, picture, model } = state;
  const plan = planned(state);
  const modify = form.mode === "modify";
  for (const radio of document.getElementsByName("mode"))
    set(radio, { checked: radio.value === form.mode, disabled: !picture });
  document.querySelector(".choice").hidden = !picture;
  $("strength-field").hidden = !picture || !modify;
  $("copy-note").hidden = !picture || modify;
  const slider = $("strength");
  set(slider, { max: String(plan.n) });
  set(slider, { value: String(plan.k), ariaValueText: reading(state) });
  slider.style.setProperty("--at", plan.n > 1 ? `${(100 * (plan.k - 1)) / (plan.n - 1)}%` : "100%");
  set($("reading"), { textContent: model ? reading(state) : "" });
  list(
    $("presets"),
    PRESETS,
    () => element("button", { type: "button" }),
    (button, [name, share]) => {
      const k = Math.max(1, stepsOf(share, plan.n, model?.steps?.rounding));
      set(button, { textContent: name, value: String(share) });
      button.style.setProperty("--at", (k - 1) / Math.max(1, plan.n - 1));
      button.setAttribute("aria-pressed", String(k === plan.k));
    },
  );
  $("size-field").hidden = Boolean(picture);
  options($("size"), sizesOf(model, state.original));
  if (form.size) set($("size"), { value: form.size });
}

/** The model's own square, two oblongs of the same area, and the last picture's size. */
function sizesOf(model, original) {
  if (!model) return [];
  const { multiple, minimum, maximum, default: common } = model.sizes;
  const snap = (side) => Math.max(minimum, Math.min(maximum, Math.round(side / multiple) * multiple));
  const sizes = new Map();
  const add = (text, width, height) => {
    const size = `${snap(width)}x${snap(height)}`;
    if (!sizes.has(size)) sizes.set(size, `${text}, ${snap(width)} × ${snap(height)}`);
  };
  add("Square", common.width, common.height);
  add("Landscape", common.width * 1.22, common.height * 0.82);
  add("Portrait", common.width * 0.82, common.height * 1.22);
  if (original) add("Like your picture", original.width, original.height);
  return [...sizes];
}

function drawStyles({ form, picture }) {
  $("styles").hidden = !picture || form.mode !== "modify" || form.styles.length === 0;
  list($("style-rows"), form.styles, makeStyle, (row, style) => {
    const [box, name, words] = row.querySelectorAll("input, span");
    row.classList.toggle("on", style.on);
    set(box, { checked: style.on });
    set(name, { textContent: style.name });
    set(words, { value: style.words, ariaLabel: `Words for ${style.name}`, disabled: !style.on });
  });
}

function makeStyle(index) {
  const box = element("input", { type: "checkbox" });
  const words = element("input", { type: "text", maxLength: 200 });
  const edit = (part) =>
    changeForm({ styles: state.form.styles.map((row, i) => (i === index ? { ...row, ...part } : row)) });
  box.addEventListener("change", () => edit({ on: box.checked }));
  words.addEventListener("input", () => edit({ words: words.value }));
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, element("label", {}, box, element("span"))),
    element("td", {}, words),
  );
}

function drawMore({ form, model, server, picture }) {
  const copy = Boolean(picture) && form.mode === "copy";
  set($("negative"), { value: form.avoid });
  set($("steps"), { max: String(model?.steps?.maximum ?? 150), disabled: copy });
  set($("guidance"), { disabled: copy });
  set($("n"), { max: String(server?.limits?.n ?? 10) });
  for (const name of ["steps", "guidance", "n"]) {
    const { validity, value } = $(name);
    const theirs = document.activeElement === $(name) || (value !== "" && !validity.valid); // still at it
    if (!theirs) set($(name), { value: String(form[name]) });
  }
  options(
    $("sampler"),
    (model?.samplers ?? ["default"]).map((name) => [name, name]),
  );
  set($("sampler"), { value: form.sampler });
  set($("seed"), { value: form.seed });
  $("lock").setAttribute("aria-pressed", String(form.locked));
  const action = form.locked ? "Let the seed change each time" : "Keep this seed";
  set($("lock"), { title: action, ariaLabel: action, disabled: form.seed === "" });
  $("lock")
    .querySelector("use")
    .setAttribute("href", form.locked ? "#i-lock" : "#i-unlock");
}

function drawGo({ job, model, picture, notice }) {
  const text = job ? "Cancel" : picture ? "Repaint" : "Paint";
  set($("run"), { disabled: !model });
  $("run").classList.toggle("stop", Boolean(job));
  set($("run-text"), { textContent: text });
  set($("run-key"), {
    textContent: job ? "Esc" : /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘ ↵" : "Ctrl ↵",
  });
  $("notice").hidden = !notice;
  if (notice) $("notice").dataset.kind = notice.kind;
  set($("notice-text"), { textContent: notice?.text ?? "" });
  document.title = job?.total ? `${job.step}/${job.total} · overpaint` : "overpaint";
}

// ── What people do ───────────────────────────────────────────────────────────

const on = (target, type, act) => target.addEventListener(type, act);
const click = (id, act) => on($(id), "click", act);

on($("controls"), "submit", (event) => {
  event.preventDefault();
  if (state.job) stopping?.abort();
  else repaint();
});
on(document, "keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !state.job) {
    event.preventDefault();
    repaint();
  }
  if (event.key === "Escape" && state.job) stopping?.abort();
});

$("controls").addEventListener(
  "invalid",
  ({ target }) => {
    const details = target.closest("details");
    if (details) details.open = true; // so that the browser can point at it
  },
  true,
);

on($("prompt"), "input", ({ target }) => changeForm({ prompt: target.value }));
on(
  $("ideas"),
  "click",
  ({ target }) => target.matches("button") && changeForm({ prompt: target.textContent }),
);
on($("how"), "change", ({ target }) => target.name === "mode" && changeForm({ mode: target.value }));
on($("presets"), "click", ({ target }) => target.value && changeForm({ strength: Number(target.value) }));
on($("strength"), "input", ({ target }) => {
  const { form, model } = state;
  changeForm({ strength: strengthFor(Number(target.value), form.steps, model?.steps?.rounding) });
});
on($("size"), "change", ({ target }) => changeForm({ size: target.value }));
on($("negative"), "input", ({ target }) => changeForm({ avoid: target.value }));
on($("sampler"), "change", ({ target }) => changeForm({ sampler: target.value }));
for (const name of ["steps", "guidance", "n"]) {
  on($(name), "input", ({ target }) => target.validity.valid && changeForm({ [name]: target.valueAsNumber }));
}
on($("seed"), "input", ({ target }) => {
  const seed = target.value.trim();
  const exact = /^\d*$/.test(seed) && Number.isSafeInteger(Number(seed)); // more digits than a JavaScript number holds
  target.setCustomValidity(exact ? "" : `A seed is a whole number up to ${Number.MAX_SAFE_INTEGER}.`);
  changeForm({ seed, locked: exact && seed !== "" });
});
click("lock", () => changeForm({ locked: !state.form.locked }));
on($("model"), "change", ({ target }) =>
  choose(state.server.models.find(({ name }) => name === target.value)),
);

click("pick", () => $("file").click());
on($("file"), "change", ({ target }) => {
  bring(target.files[0]);
  target.value = "";
});
click("words", () => change({ picture: null, shown: null }));
on($("sources"), "click", ({ target }) => {
  const button = target.closest("button");
  if (button) change({ picture: button.source, shown: null });
});
on(window, "paste", (event) => {
  const file = imageIn(event.clipboardData);
  if (!file || state.job) return;
  event.preventDefault();
  bring(file);
});
on(window, "dragover", (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  if (!state.dragging) change({ dragging: true });
});
on(window, "dragleave", (event) => event.relatedTarget === null && change({ dragging: false }));
on(window, "drop", (event) => {
  event.preventDefault();
  change({ dragging: false });
  if (!state.job) bring(imageIn(event.dataTransfer));
});

click("again", () => repaint({ newSeed: true }));
click("use", () => {
  const { blob, url, width, height } = state.shown;
  change({ picture: { blob, url, width, height, upload: null }, shown: null });
  $("prompt").focus();
});
click("settings", () => takeSettings(state.shown));
click("full", () =>
  document.fullscreenElement ? document.exitFullscreen() : $("stage").requestFullscreen(),
);
click("dismiss", () => change({ notice: null }));
on($("results"), "click", ({ target }) => {
  const button = target.closest("button");
  if (button) change({ shown: button.result, split: 0, revealing: false });
});
on($("frame"), "animationend", () => change({ revealing: false }));
on($("compare"), "input", ({ target }) => change({ split: Number(target.value), revealing: false }));
on($("compare"), "pointerdown", () => {
  $("stage").dataset.sliding = "";
});
on(window, "pointerup", () => {
  delete $("stage").dataset.sliding;
});

function takeSettings({ asked, seed, from }) {
  const styles = state.form.styles.map((row) => ({
    ...row,
    on: row.name in (asked.styles ?? {}),
    words: asked.styles?.[row.name] ?? row.words,
  }));
  changeForm({
    prompt: asked.prompt,
    mode: asked.mode ?? state.form.mode,
    strength: asked.strength ?? state.form.strength,
    steps: asked.steps ?? state.form.steps,
    guidance: asked.guidance_scale ?? state.form.guidance,
    sampler: asked.sampler,
    size: asked.size ?? state.form.size,
    n: asked.n,
    seed: String(seed),
    locked: true,
    avoid: asked.negative_prompt ?? "",
    styles: asked.styles ? styles : state.form.styles,
  });
  change({
    picture: from,
    notice: {
      kind: "note",
      text: "Its picture, words, settings and seed are in the form; the seed is kept until you unlock it.",
    },
  });
}

// ── The beginning ────────────────────────────────────────────────────────────

function choose(model) {
  const { strength, steps, guidance_scale: guidance, sampler } = model.defaults;
  const { width, height } = model.sizes.default;
  change({ model });
  changeForm({ strength, steps, guidance, sampler, size: `${width}x${height}` });
}

async function begin() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem("token", given);
    history.replaceState(null, "", location.pathname);
  }
  draw();
  while (!state.server) {
    try {
      change({ server: await body("json", "/v1/capabilities"), away: false });
    } catch {
      change({ away: true });
      await pause(2000);
    }
  }
  const styles = (state.server.styles ?? []).map((row) => ({ ...row, on: true }));
  changeForm({ styles, avoid: state.server.negative_prompt ?? "" });
  choose(state.server.models[0]);
  const example = await body("blob", "/page/example.png")
    .then(picture)
    .catch(() => null);
  if (example && !state.picture) {
    example.name = "example";
    change({ picture: example, original: example });
  }
}

begin();
