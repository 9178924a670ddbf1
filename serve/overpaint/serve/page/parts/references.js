// Pictures to go by: brought, shown, left out again, and how much they count.

import { $, element, list, makeButton, set, show } from "../dom.js";
import { say } from "../messages.js";
import { fitted } from "../pictures.js";

export function references(store, album) {
  $("add-reference").addEventListener("click", () => $("reference-file").click());
  $("reference-file").addEventListener("change", async ({ target }) => {
    const files = [...target.files];
    target.value = ""; // so that the same file can be picked again
    for (const file of files) await bring(file, store, album);
  });
  $("seen").addEventListener("input", ({ target }) => store.changeForm({ seen: target.valueAsNumber }));

  return (state) => {
    const { model, references: pictures, form } = state;
    $("references").hidden = !model?.references;
    list($("reference-list"), pictures, makeTile, (item, picture, i) => {
      const [button, image] = item.querySelectorAll("button, img");
      set(button, { ariaLabel: `Leave out reference picture ${i + 1}`, title: "Leave it out" });
      button.onclick = () => leaveOut(picture, store, album);
      show(image, picture.url);
    });
    $("add-reference").hidden = pictures.length >= most(state);
    $("seen-field").hidden = pictures.length === 0;
    set($("seen"), { value: String(form.seen), ariaValueText: `${Math.round(form.seen * 100)} %` });
  };
}

const most = ({ server }) => server?.limits?.references ?? 1;

async function bring(file, store, album) {
  if (store.state.references.length >= most(store.state)) return;
  try {
    const large = await album.open(file);
    const { blob, why } = await fitted(large, store.state.server?.limits);
    const picture = why ? await album.open(blob) : large;
    store.change({ references: [...store.state.references, picture] });
    album.release(store.state);
    say("A picture to go by is here.");
  } catch {
    const text = `${file.name} is not a picture that can be read. PNG, JPEG and WEBP work.`;
    store.change({ notice: { kind: "error", text } });
  }
}

function leaveOut(picture, store, album) {
  $("add-reference").hidden = false;
  $("add-reference").focus(); // what was pressed goes away
  store.change({ references: store.state.references.filter((one) => one !== picture) });
  album.release(store.state);
  say("Left out.");
}

function makeTile() {
  const button = makeButton();
  const cross = $("dismiss").querySelector("svg").cloneNode(true);
  button.append(element("img", { alt: "" }), cross);
  return element("li", {}, button);
}
