// What outlives a reload: in this browser's database the jobs under way and everything that was made, in
// this tab the form. Where a browser keeps nothing, or no more, the page forgets and works as well.

import { ASKED } from "./progress.js";
import { newKey } from "./state.js";

const STORES = ["jobs", "results", "pictures"];
const FORGOTTEN = 24 * 3600 * 1000; // after which nobody comes back to a job that was never handed in

/** {load, keep}: what was there, and how to keep what is there now. Several tabs share one memory. */
export async function createMemory(album) {
  let database = await opened().catch(() => null);
  if (database) database.onclose = () => (database = null); // somebody cleared what this site keeps
  const known = { jobs: new Set(), results: new Set() }; // keys of what this tab knows to be there
  const taken = new Set(); // keys of jobs that are there with the server's id
  const tab = nameOfTab();

  async function load() {
    if (!database) return { jobs: [], results: [] };
    const stores = database.transaction(STORES);
    const [kept, results, files] = await Promise.all(STORES.map((name) => all(stores, name)));
    const jobs = kept.filter((job) => job.id || job.tab === tab || Date.now() - job.sent > FORGOTTEN);
    for (const { key, id } of jobs) {
      known.jobs.add(key);
      if (id) taken.add(key);
    }
    for (const { key } of results) known.results.add(key);
    const open = async ({ key, blob, name }) => ({ ...(await album.open(blob, key)), name });
    const readable = (await Promise.all(files.map((file) => open(file).catch(() => null)))).filter(Boolean);
    const pictures = new Map(readable.map((picture) => [picture.key, picture]));
    const origin = (record) => pictures.get(record.from) ?? null;
    const seen = ({ references = [] }) => references.map((key) => pictures.get(key)).filter(Boolean);
    const whole = (record) => ({ ...record, ...pictures.get(record.key), from: origin(record) });
    const again = (record) => ({ ...whole(record), references: seen(record) });
    const mine = jobs.filter((job) => job.id || job.tab === tab);
    return {
      jobs: mine.map(underWay).map(again).sort((a, b) => a.sent - b.sent),
      results: results
        .filter(({ key }) => pictures.has(key))
        .map(whole)
        .sort((a, b) => b.made - a.made),
    };
  }

  function keep({ jobs, results }) {
    const [newJobs, goneJobs] = changes(known.jobs, jobs);
    for (const job of jobs) if (job.id && !taken.has(job.key)) newJobs.add(job);
    const [newResults, goneResults] = changes(known.results, results);
    if (!database || newJobs.size + goneJobs.size + newResults.size + goneResults.size === 0) return;
    const stores = database.transaction(STORES, "readwrite");
    for (const job of newJobs) {
      put(stores, "jobs", jobRecord(job, tab), known.jobs);
      if (job.id) taken.add(job.key);
    }
    for (const result of newResults) put(stores, "results", resultRecord(result), known.results);
    const given = ({ from, references = [] }) => [from, ...references];
    const origins = [...newJobs, ...newResults].flatMap(given).filter(Boolean);
    for (const { key, blob, name } of new Set([...newResults, ...origins])) {
      put(stores, "pictures", { key, blob, name });
    }
    for (const key of goneJobs) remove(stores, "jobs", key, known.jobs);
    for (const key of goneResults) remove(stores, "results", key, known.results);
    sweep(stores).catch(() => {}); // a full disk undoes all of this
  }

  return { load, keep };
}

/** What of `ones` is not among the `known` keys, and the keys that are left over. */
function changes(known, ones) {
  const keys = new Set(ones.map(({ key }) => key));
  return [
    new Set(ones.filter(({ key }) => !known.has(key))),
    new Set([...known].filter((key) => !keys.has(key))),
  ];
}

function put(stores, name, record, known) {
  stores.objectStore(name).put(record);
  known?.add(record.key);
}

function remove(stores, name, key, known) {
  stores.objectStore(name).delete(key);
  known?.delete(key);
}

const jobRecord = ({ key, id, asked, mask, sent, from, references }, tab) => {
  const keys = { from: from?.key, references: references.map((one) => one.key) };
  return { key, id, asked, mask, sent, tab, ...keys };
};

/** A job that the server had not answered for is `unsure`: it may have got it. */
const underWay = ({ tab, ...job }) => (job.id ? job : { ...ASKED, ...job, unsure: true });

/** A name that a reload keeps, and a second tab does not share: no job is handed in by both. */
function nameOfTab() {
  const name = sessionStorage.getItem("tab") ?? newKey();
  sessionStorage.removeItem("tab"); // a tab that is doubled gets what is in there
  addEventListener("pagehide", () => sessionStorage.setItem("tab", name));
  addEventListener("pageshow", () => sessionStorage.removeItem("tab"));
  return name;
}

const resultRecord = ({ blob, url, from, ...rest }) => ({ ...rest, from: from?.key });

/** Let go of pictures that belong to nothing any more. */
async function sweep(stores) {
  const [jobs, results, pictures] = await Promise.all(STORES.map((name) => all(stores, name)));
  const used = new Set([...jobs, ...results].flatMap(({ key, from, references = [] }) => [key, from, ...references]));
  for (const { key } of pictures) if (!used.has(key)) remove(stores, "pictures", key);
}

async function opened() {
  const request = indexedDB.open("overpaint", 1);
  request.onupgradeneeded = () => {
    for (const name of STORES) request.result.createObjectStore(name, { keyPath: "key" });
  };
  return answered(request);
}

const all = (stores, name) => answered(stores.objectStore(name).getAll());

function answered(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** The form of this tab, with the model, the pace, the mask and what is on the easel; null where nothing is kept. */
export const keptForm = () => JSON.parse(sessionStorage.getItem("form"));

export function keepForm({ form, model, pace, mask, at }) {
  if (model) sessionStorage.setItem("form", JSON.stringify({ form, model: model.name, pace, mask, at }));
}
